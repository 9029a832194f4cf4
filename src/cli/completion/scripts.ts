/**
 * The scripts that shells load. Each hands the words to `modeldl __complete` and offers what that answers; what was typed
 * and what is offered is data for it, never run. The program is the one on the PATH.
 */
export const SHELLS = ['bash', 'zsh', 'fish', 'powershell'] as const;
export type Shell = (typeof SHELLS)[number];

/** For bash 3.2, which macOS has, too: there `compopt` is not there, and paths are offered where nothing fits. */
const BASH = `# bash completion of modeldl
_modeldl() {
  local answer line paths=
  answer=$(command modeldl __complete bash "$COMP_WORDBREAKS" "\${COMP_LINE:0:COMP_POINT}" 2>/dev/null </dev/null)
  COMPREPLY=()
  while IFS= read -r line; do
    if [[ -z $paths ]]; then paths=$line; else COMPREPLY+=("$line"); fi
  done <<< "$answer"
  type compopt &>/dev/null || return 0
  case $paths in
    files) ;;
    directories) compopt +o default -o dirnames ;;
    *) compopt +o default ;;
  esac
  case \${COMPREPLY[0]-} in
    *[:=]) compopt -o nospace ;;
  esac
  return 0
}
complete -o default -F _modeldl modeldl
`;

/** It is a file of \`fpath\`, which runs it at the first Tab, or is sourced. */
const ZSH = `#compdef modeldl
_modeldl() {
  local -a answer values shown open open_shown
  local line value title
  answer=("\${(@f)$(command modeldl __complete zsh "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  for line in "\${(@)answer[2,-1]}"; do
    value=\${line%%$'\\t'*}
    title=\${line#*$'\\t'}
    [[ -n $title ]] && title="$value  -- $title" || title=$value
    if [[ $value == *[:=] ]]; then
      open+=("$value")
      open_shown+=("$title")
    else
      values+=("$value")
      shown+=("$title")
    fi
  done
  local -i nothing=1
  (( $#values )) && compadd -l -d shown -a -- values && nothing=0
  (( $#open )) && compadd -l -d open_shown -S '' -a -- open && nothing=0
  (( nothing )) || return 0
  [[ $PREFIX == --*=* ]] && compset -P '*='
  case \${answer[1]} in
    files) _files ;;
    directories) _files -/ ;;
    *) return 1 ;;
  esac
}
if [[ \${funcstack[1]} == _modeldl ]]; then
  _modeldl "$@"
else
  compdef _modeldl modeldl
fi
`;

const FISH = `# fish completion of modeldl
function __modeldl_complete
  set -l before (commandline -opc)
  set -e before[1]
  set -l current (commandline -ct)
  set -l word (string unescape -- "$current")
  or set word (string replace -r '^["\\']' '' -- "$current")
  set -l answer (command modeldl __complete fish $before "$word" 2>/dev/null </dev/null)
  set -l paths $answer[1]
  set -e answer[1]
  if test (count $answer) -gt 0
    printf '%s\\n' $answer
    return
  end
  set -l option (string match -r -- '^--[^=]*=' "$current")
  set -l place (string replace -r -- '^--[^=]*=' '' "$current")
  switch "$paths"
    case files
      for path in (__fish_complete_path "$place")
        printf '%s%s\\n' "$option" "$path"
      end
    case directories
      for path in (__fish_complete_directories "$place" '')
        printf '%s%s\\n' "$option" "$path"
      end
  end
end
complete -c modeldl -e
complete -c modeldl -f -k -a '(__modeldl_complete)'
`;

/**
 * Words go with a sign before them: PowerShell before 7.3 drops empty arguments, and its scripts read \`--\` themselves.
 * A quote of typography ends what a quote began there, so each is doubled.
 */
const POWERSHELL = `# PowerShell completion of modeldl
Register-ArgumentCompleter -Native -CommandName modeldl -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $words = @()
  $current = ''
  foreach ($element in ($commandAst.CommandElements | Select-Object -Skip 1)) {
    if ($element.Extent.StartOffset -ge $cursorPosition) { break }
    $text = $element.Extent.Text
    if ($element -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $text = $element.Value }
    if ($element.Extent.EndOffset -lt $cursorPosition) { $words += $text } else { $current = $wordToComplete.Trim("'", '"') }
  }
  $given = @(($words + $current) | ForEach-Object { "=$_" })
  & modeldl __complete powershell @given 2>$null | Select-Object -Skip 1 | ForEach-Object {
    $value, $title = $_ -split "\`t", 2
    if (-not $title) { $title = $value }
    $text = $value
    if ($value -notmatch '^[A-Za-z0-9._/+=:-]([A-Za-z0-9._/+=:@%-]*)$') { $text = "'" + ($value -replace "['\\u2018-\\u201b]", '$0$0') + "'" }
    [System.Management.Automation.CompletionResult]::new($text, $value, 'ParameterValue', $title)
  }
}
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH, powershell: POWERSHELL };

export function scriptFor(shell: Shell): string {
  return SCRIPTS[shell].trimEnd();
}
