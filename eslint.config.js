import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** What each room may not import, by architecture.md: imports go one way. */
const forbid = (files, patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: patterns.map((regex) => ({ regex })) }] },
});
const rooms = [
  forbid(['src/cli/**'], ['/hubs/', '/converters/', '/store/', '/transfer/']),
  forbid(['src/transfer/**'], ['/store/', '/cli/', '/config/', '/hubs/', '/converters/']),
  forbid(['src/store/**'], ['/transfer/', '/cli/', '/config/', '/hubs/', '/converters/']),
  forbid(
    ['src/layout/**'],
    ['/store/', '/transfer/', '/cli/', '/config/', '/hubs/', '/converters/', 'node:fs'],
  ),
  forbid(['src/config/**'], ['/cli/', '/store/', '/transfer/', '/hubs/', '/converters/']),
  forbid(['hubs/**'], ['/src/(store|cli|config|transfer)/', '/converters/']),
  forbid(['converters/**'], ['/src/(store|cli|config|transfer)/', '/hubs/']),
];

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'coverage', 'examples/**/*.js'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', ignoreRestSiblings: true }],
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
      'no-restricted-globals': [
        'error',
        { name: 'process', message: 'bin reads the process and hands it down' },
      ],
    },
  },
  { files: ['bench/**'], rules: { 'no-console': 'off' } },
  { files: ['**/*.js', '**/*.mjs'], ...tseslint.configs.disableTypeChecked },
  ...rooms,
);
