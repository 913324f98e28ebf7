# Completion for zsh, after help.awk: a function with the arguments of every command.

function begin_page() { specs = "" }
function on_summary(line) {}
function on_usage(text) {}
function on_section(title) {}
function on_example(line) {}
function on_text(line) {}

function quoted(text) {
  gsub(/'/, "'\\''", text)
  return text
}

function explained(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/\[/, "\\[", text)
  gsub(/\]/, "\\]", text)
  gsub(/:/, "\\:", text)
  return quoted(text)
}

function action_of(type,    name) {
  name = type
  gsub(/[^A-Za-z]/, "", name)
  if (type ~ /\|/) {
    gsub(/\|/, " ", type)
    sub(/opencl:N/, "opencl\\:0", type)
    return ":value:(" type ")"
  }
  if (type == "FILE") return ":file:_files"
  if (type ~ /^(FOLDER|DIR)$/) return ":folder:_files -/"
  return ":" name ": "
}

function on_item(names, type, text,    n, parts, i, all, short) {
  if (section == "Subcommands") { commands = commands sprintf("    '%s:%s'\n", names, explained(text)); return }
  if (section == "Positionals") {
    if (names == "MODEL") specs = specs " \\\n        '::model:_runnel_models'"
    else if (names == "NAME") specs = specs " \\\n        '::model:(" models_of_pull ")'"
    return
  }
  all = names
  n = split(names, parts, ",")
  gsub(/,/, " ", all)
  for (i = 1; i <= n; ++i)
    specs = specs sprintf(" \\\n        '(%s)%s[%s]%s'", all, parts[i] (type == "" ? "" : parts[i] ~ /^--/ ? "=" : "+"),
                          explained(text), type == "" ? "" : quoted(action_of(type)))
}

function end_page() {
  if (page == "") return
  cases = cases sprintf("      %s)\n        _arguments -s -S%s \\\n        '*:file:_files' ;;\n", page, specs)
}

END {
  print "#compdef runnel"
  print "# Completion of runnel for zsh. Made from what the program says with --help."
  print "_runnel_models() {"
  print "  _alternative 'models:model:(" models_of_pull ")' 'files:file:_files'"
  print "}"
  print "_runnel() {"
  print "  local curcontext=$curcontext state line"
  print "  local -a commands=("
  printf "%s", commands
  print "  )"
  print "  _arguments -C '(- *)'{-h,--help}'[Print a help message]' '(- *)--version[Print the version]' \\"
  print "    '1:command:->command' '*::argument:->argument'"
  print "  case $state in"
  print "    command) _describe command commands ;;"
  print "    argument)"
  print "      curcontext=${curcontext%:*:*}:runnel-$words[1]:"
  print "      case $words[1] in"
  printf "%s", cases
  print "      esac ;;"
  print "  esac"
  print "}"
  print "_runnel \"$@\""
}
