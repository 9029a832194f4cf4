import js from '@eslint/js';
import { createTypeScriptImportResolver } from 'eslint-import-resolver-typescript';
import { importX } from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/** What each room may not import, by architecture.md: imports go one way. */
const rooms = [
  { target: ['./src', './hubs', './converters'], from: './bin', message: 'nobody imports bin' },
  {
    target: './src/cli',
    from: ['./hubs', './converters', './src/store', './src/transfer'],
    message: 'the CLI uses src/index.ts, errors, events and config only',
  },
  { target: './src/transfer', from: ['./src/store', './src/cli', './src/config', './hubs', './converters'] },
  { target: './src/store', from: ['./src/transfer', './src/cli', './src/config', './hubs', './converters'] },
  { target: './src/config', from: ['./src/cli', './src/store', './src/transfer', './hubs', './converters'] },
  { target: './hubs', from: ['./src/store', './src/cli', './src/config', './src/transfer', './converters'] },
  { target: './converters', from: ['./src/store', './src/cli', './src/config', './src/transfer', './hubs'] },
  {
    // plugins.ts is the one place of src that knows the built-in tables.
    target: ['./src/!(plugins).ts'],
    from: ['./hubs', './converters'],
    message: 'src never names a hub or a converter',
  },
];

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'coverage', 'examples/**/*.js'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    plugins: { 'import-x': importX },
    settings: { 'import-x/resolver-next': [createTypeScriptImportResolver({ project: './tsconfig.json' })] },
    rules: {
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: rooms }],
      'import-x/no-default-export': 'error',
      'import-x/no-cycle': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'use a union of literals' },
        { selector: 'TSModuleDeclaration', message: 'use modules' },
      ],
    },
  },
  {
    files: ['src/**', 'hubs/**', 'converters/**'],
    rules: {
      'no-restricted-globals': ['error', { name: 'process', message: 'bin reads the process and hands it down' }],
    },
  },
  { files: ['bench/**'], rules: { 'no-console': 'off' } },
  { files: ['vitest.config.ts'], rules: { 'import-x/no-default-export': 'off' } },
  { files: ['**/*.js', '**/*.mjs'], ...tseslint.configs.disableTypeChecked },
  { files: ['eslint.config.js'], rules: { 'import-x/no-default-export': 'off' } },
);
