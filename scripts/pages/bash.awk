# Completion for bash, after help.awk: one function, with the words of every command.

function begin_page() { options = ""; values = ""; positionals = "" }
function on_summary(line) {}
function on_usage(text) {}
function on_section(title) {}
function on_example(line) {}
function on_text(line) {}

function words_of(type) {
  gsub(/\|/, " ", type)
  sub(/opencl:N/, "opencl:0", type)
  return type
}

function on_item(names, type, text,    pattern) {
  if (section == "Subcommands") { commands = commands " " names; return }
  if (section == "Positionals") { positionals = positionals " " names; return }
  pattern = names
  gsub(/,/, " ", names)
  options = options " " names
  if (type == "") return
  gsub(/,/, "|", pattern)
  if (type ~ /\|/) values = values sprintf("        %s) _runnel_words \"%s\"; return ;;\n", pattern, words_of(type))
  else if (type ~ /^(FILE|FOLDER|DIR)$/) values = values sprintf("        %s) _runnel_files %s; return ;;\n", pattern, type == "FILE" ? "-f" : "-d")
  else values = values sprintf("        %s) return ;;\n", pattern)
}

function end_page() {
  if (page == "") return
  cases = cases sprintf("    %s)\n      case $before in\n%s      esac\n      options=\"%s\"\n", page, values, substr(options, 2))
  if (positionals ~ / MODEL/) cases = cases "      models=1\n"
  if (positionals == " NAME") cases = cases "      only_models=1\n"
  cases = cases "      ;;\n"
}

END {
  print "# Completion of runnel for bash. Made from what the program says with --help."
  print "_runnel_words() { COMPREPLY+=($(compgen -W \"$1\" -- \"$word\")); }"
  print "_runnel_files() { compopt -o filenames; local IFS=$'\\n'; COMPREPLY+=($(compgen \"$1\" -- \"$word\")); }"
  print "_runnel() {"
  print "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command= options= models= only_models= i"
  print "  COMPREPLY=()"
  print "  # --option=value arrives as three words"
  print "  if [[ $word == = ]]; then word=; elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD - 2]}; fi"
  print "  for ((i = 1; i < COMP_CWORD; ++i)); do"
  print "    [[ ${COMP_WORDS[i]} == -* ]] || { command=${COMP_WORDS[i]}; break; }"
  print "  done"
  print "  case $command in"
  printf "    \"\") _runnel_words \"%s --help --version\"; return ;;\n", substr(commands, 2)
  printf "%s", cases
  print "  esac"
  print "  if [[ $word == -* ]]; then _runnel_words \"$options\"; return; fi"
  print "  if [[ $models$only_models ]]; then _runnel_words \"" models_of_pull "\"; fi"
  print "  [[ $only_models ]] || _runnel_files -f"
  print "}"
  print "complete -F _runnel runnel"
}
