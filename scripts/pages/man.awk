# A manual page of one command, after help.awk. Variables: version, date.

function roff(line) {
  gsub(/\\/, "\\e", line)
  gsub(/-/, "\\-", line)
  gsub(/~/, "\\(ti", line)
  gsub(/\^/, "\\(ha", line)
  gsub(/`/, "\\(ga", line)
  gsub(/'/, "\\(aq", line)
  if (line ~ /^\./) line = "\\&" line
  return line
}

function title_of(name) { return "runnel" (name == "" ? "" : "-" name) }

function heading(title) {
  print ".SH " toupper(title)
  is_verbatim = 0
  is_fresh = 1
}

function end_verbatim() {
  if (is_verbatim) print ".EE"
  is_verbatim = 0
}

function begin_page() {
  printf ".TH %s 1 \"%s\" \"runnel %s\" \"User Commands\"\n", toupper(title_of(page)), date, version
  n_summary = n_notes = n_commands = is_verbatim = 0
}

function on_summary(line) { summary[++n_summary] = line }

function on_usage(usage,    i) {
  heading("Name")
  print title_of(page) " \\- " roff(summary[1])
  heading("Synopsis")
  sub(/^runnel/, "", usage)
  if (page != "") sub("^ " page, "", usage)
  print ".B runnel" (page == "" ? "" : " " page)
  print roff(substr(usage, 2))
  if (n_summary > 1) heading("Description")
  for (i = 2; i <= n_summary; ++i) print roff(summary[i])
}

function on_section(title) {
  end_verbatim()
  has_items = 0
  wanted = title == "Positionals" ? "Arguments" : title == "Subcommands" ? "Commands" : title
  # Options in groups: Stream, Sampling.
  if (wanted == "Options" || wanted == "Arguments" || wanted == "Commands") heading(wanted)
}

function begin_items() {
  if (!has_items && section != "Options" && section != "Positionals" && section != "Subcommands") print ".SS " section
  has_items = 1
}

function on_item(names, type, text,    n, i, parts, shown) {
  begin_items()
  print ".TP"
  if (section == "Subcommands") {
    commands[++n_commands] = names
    print ".B " roff(names)
  } else if (section == "Positionals") {
    print ".I " roff(names)
  } else {
    n = split(names, parts, ",")
    for (i = 1; i <= n; ++i) shown = shown (i > 1 ? ", " : "") "\\fB" roff(parts[i]) "\\fR"
    print shown (type == "" ? "" : " \\fI" roff(type) "\\fR")
  }
  print roff(text)
}

function on_example(line) {
  if (!is_verbatim) {
    if (line == "") return
    heading(section)
    print ".EX"
    is_verbatim = 1
  }
  if (line == "") print ""
  else print roff(substr(line, 3))
}

function on_text(line) {
  end_verbatim()
  if (line == "") { if (n_notes) notes[++n_notes] = ".PP"; return }
  notes[++n_notes] = roff(line)
}

function end_page(    i) {
  end_verbatim()
  while (n_notes && notes[n_notes] == ".PP") --n_notes
  if (n_notes) heading("Notes")
  for (i = 1; i <= n_notes; ++i) if (notes[i] != ".PP" || notes[i - 1] != ".PP") print notes[i]
  heading("See also")
  if (page != "") { print ".BR runnel (1)"; return }
  for (i = 1; i <= n_commands; ++i)
    print ".BR runnel\\-" roff(commands[i]) " (1)" (i < n_commands ? "," : "")
}
