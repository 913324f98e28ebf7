# Completion for fish, after help.awk.

function begin_page() {}
function on_summary(line) {}
function on_usage(text) {}
function on_section(title) {}
function on_example(line) {}
function on_text(line) {}
function end_page() {}

function quoted(text) {
  gsub(/\\/, "\\\\", text)
  gsub(/'/, "\\'", text)
  return "'" text "'"
}

function on_item(names, type, text,    n, parts, i, line) {
  if (section == "Subcommands") {
    commands = commands " " names
    lines[++n_lines] = "complete -c runnel -n __fish_use_subcommand -f -a " names " -d " quoted(text)
    return
  }
  line = "complete -c runnel -n " (page == "" ? "__fish_use_subcommand" : quoted("__fish_seen_subcommand_from " page))
  if (section == "Positionals") {
    if (names == "MODEL" || names == "NAME")
      lines[++n_lines] = line (names == "NAME" ? " -f" : "") " -a " quoted(models_of_pull) " -d 'model of runnel pull'"
    return
  }
  n = split(names, parts, ",")
  for (i = 1; i <= n; ++i) {
    if (parts[i] ~ /^--/) line = line " -l " substr(parts[i], 3)
    else line = line " -s " substr(parts[i], 2)
  }
  if (type ~ /\|/) {
    gsub(/\|/, " ", type)
    sub(/opencl:N/, "opencl:0", type)
    line = line " -x -a " quoted(type)
  } else if (type == "FILE") {
    line = line " -r -F"
  } else if (type ~ /^(FOLDER|DIR)$/) {
    line = line " -x -a '(__fish_complete_directories)'"
  } else if (type != "") {
    line = line " -x"
  }
  lines[++n_lines] = line " -d " quoted(text)
}

END {
  print "# Completion of runnel for fish. Made from what the program says with --help."
  for (i = 1; i <= n_lines; ++i) print lines[i]
}
