#!/usr/bin/env bash
# The manual pages that are made from --help are complete and free of faults, and each shell completes subcommands,
# options, their values and files.
source tests/cli/support.sh

sh scripts/pages/make.sh "$WORK/share" "$RUNNEL" 2>"$WORK/err" || fail "$(cat "$WORK/err")"
share=$WORK/share
commands=$("$RUNNEL" --help | awk '/^Subcommands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')

# ---- manual pages
for page in runnel $(printf 'runnel-%s ' $commands); do
  file=$share/man/man1/$page.1
  [[ -s $file ]] || fail "no page $page"
  if command -v man >/dev/null; then
    MANWIDTH=400 man --warnings -l "$file" >"$WORK/page" 2>"$WORK/err" && [[ ! -s $WORK/err ]] || fail "$page: $(cat "$WORK/err")"
    [[ $page != runnel-generate ]] || grep -q 'default 0.95' "$WORK/page" || fail "$page lacks an option's default"
  fi
  if command -v mandoc >/dev/null; then
    mandoc -T lint -W error "$file" >"$WORK/err" || fail "$page: $(cat "$WORK/err")"
  fi
done
for option in $("$RUNNEL" generate --help | grep -oP '^  (-\w,)?\K--[a-z-]+'); do
  grep -qF -- "${option//-/\\-}" "$share/man/man1/runnel-generate.1" || fail "runnel-generate.1 has no $option"
done

# ---- bash: the words that it would offer
complete_bash() { # WORD... ; the last one is completed
  bash --norc -c '
    source "$1"; shift
    compopt() { :; }
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _runnel
    printf "%s\n" "${COMPREPLY[@]}"' bash "$share/bash-completion/completions/runnel" "$@"
}
mkdir "$WORK/folder"
touch "$WORK/folder/book one.txt"
offers() { # WANTED COMPLETER WORD...
  local wanted=$1
  shift
  "$@" >"$WORK/offered" 2>"$WORK/err" || true
  grep -qxF -- "$wanted" "$WORK/offered" || fail "$*: no $wanted in: $(head -c 500 "$WORK/offered") $(cat "$WORK/err")"
}
offers generate complete_bash runnel gen
offers --version complete_bash runnel --
offers --policy complete_bash runnel generate --po
offers recompute complete_bash runnel generate --policy ""
offers sink complete_bash runnel generate --policy = s
offers smollm2 complete_bash runnel chat smo
offers gemma3-270m complete_bash runnel pull g
offers "$WORK/folder/book one.txt" complete_bash runnel generate -f "$WORK/folder/b"
offers "$WORK/folder" complete_bash runnel serve --state "$WORK/fol"
[[ -z $(complete_bash runnel generate --seed "") ]] || fail "bash offers something for a number"
for command in $commands; do offers --help complete_bash runnel "$command" --h; done

# ---- fish
if command -v fish >/dev/null; then
  complete_fish() { # LINE
    HOME=$WORK fish --no-config -c 'source $argv[1]; complete -C $argv[2]' \
      "$share/fish/vendor_completions.d/runnel.fish" "$1" | cut -f 1
  }
  offers generate complete_fish "runnel gen"
  offers --policy complete_fish "runnel generate --po"
  offers recompute complete_fish "runnel generate --policy "
  offers gemma3-270m complete_fish "runnel pull g"
  offers "$WORK/folder/" complete_fish "runnel serve --state $WORK/fol"
else
  echo "SKIPPED: completion in fish, which is not installed"
fi

# ---- zsh, which completes in a terminal only
if command -v zsh >/dev/null; then
  complete_zsh() { # LINE
    zsh -f -c '
      zmodload zsh/zpty
      zpty shell "PS1= zsh -f -i"
      zpty -w shell "fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; LISTMAX=1000; stty columns 400 rows 1000 -echo"
      zpty -w shell "bindkey \"^I\" complete-word; zstyle \":completion:*\" list-grouped no; print rea\"\"dy"
      zpty -r -m shell out "*ready*"
      zpty -w -n shell "$2"$'"'\t'"'
      zpty -r -m -t shell out "*" ; sleep 1
      while zpty -r -t shell more; do out+=$more; done
      print -r -- "$out"' zsh "$share/zsh/site-functions" "$1" | tr -d '\r' | tr -s ' ' '\n'
  }
  zsh_offers() { # WANTED LINE
    complete_zsh "$2" >"$WORK/offered" 2>&1
    grep -qF -- "$1" "$WORK/offered" || fail "zsh: $2: no $1 in: $(cat "$WORK/offered")"
  }
  zsh -n "$share/zsh/site-functions/_runnel" || fail "zsh cannot read its completion"
  zsh_offers generate "runnel gene"
  zsh_offers recompute "runnel generate --policy "
  zsh_offers --repetition-penalty "runnel chat --repet"
else
  echo "SKIPPED: completion in zsh, which is not installed"
fi
