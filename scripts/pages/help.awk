# Reads what `runnel COMMAND --help` writes, one file a command, and calls, in the order of the text:
#
#   begin_page()                   at the first line of a file; `page` is its command, "" for the program itself
#   on_summary(line)               a line before the usage
#   on_usage(text)
#   on_section(title)              "Options", "Stream", "Examples", ...
#   on_item(names, type, text)     of Positionals, Subcommands and options; `section` is where. "-n,--tokens", "N", "..."
#   on_example(line)               a line of any other section
#   on_text(line)                  a line outside of sections; empty ones too
#   end_page()
#
# The script behind this one on awk's command line has these functions. `command` is given between the files:
#   awk -f help.awk -f man.awk command= main.help command=chat chat.help

function flush_item() {
  if (names == "") return
  type = ""
  if (match(names, / /)) {
    type = substr(names, RSTART + 1)
    names = substr(names, 1, RSTART - 1)
  }
  on_item(names, type, text)
  names = text = ""
}

function flush_page() {
  flush_item()
  if (has_page) end_page()
}

FNR == 1 {
  flush_page()
  has_page = 1
  page = command
  has_usage = 0
  section = ""
  begin_page()
}

/^Usage: / { flush_item(); has_usage = 1; on_usage(substr($0, 8)); next }
!has_usage { on_summary($0); next }
/^[A-Z][A-Za-z ]*:$/ {
  flush_item()
  section = substr($0, 1, length($0) - 1)
  on_section(section)
  next
}
# Continued descriptions and items: the description begins in column 31.
/^                              [^ ]/ && names != "" {
  sub(/^ +/, "")
  text = text (text == "" ? "" : " ") $0
  next
}
/^  -/ || (/^  [^ ]/ && (section == "Positionals" || section == "Subcommands")) {
  flush_item()
  if (length($0) > 30 && substr($0, 29, 2) == "  ") {
    names = substr($0, 3, 26)
    text = substr($0, 31)
    sub(/ +$/, "", names)
  } else {
    names = substr($0, 3)
  }
  next
}
{
  flush_item()
  if (section != "" && /^  /) on_example($0)
  else if (section != "" && $0 == "") on_example("")
  else { section = ""; on_text($0) }
}
END { flush_page() }
