# Reads one JSON object as bytes (run with LC_ALL=C; the caller has made sure that it is UTF-8 without NUL).
# Prints a line for all that is in it: path, a tab, kind, a tab, and of strings, numbers and words the value as
# written. Exit status 1 for what is not JSON or may be read in two ways: a member twice, a number that is not
# whole, an escape in a member's name, NUL or a surrogate by escape, more than 64 levels.

{ text = text (NR > 1 ? "\n" : "") $0 }

END {
  at = 1
  end = length(text) + 1
  blanks()
  if (one() != "{") fail()
  value("", 0)
  blanks()
  if (at != end) fail()
  ORS = ""
  print out
}

function fail() { exit 1 }

function one() { return substr(text, at, 1) }

function blanks() { while (at < end && one() ~ /[ \t\n\r]/) at++ }

function put(path, kind, held) { out = out path "\t" kind "\t" held "\n" }

function value(path, depth,    first, word) {
  if (depth > 64) fail()
  first = one()
  if (first == "{") object(path, depth)
  else if (first == "[") list(path, depth)
  else if (first == "\"") put(path, "string", string())
  else {
    if (!match(substr(text, at, 32), /^[-+.0-9A-Za-z]+/)) fail()
    word = substr(text, at, RLENGTH)
    at += RLENGTH
    if (word == "true" || word == "false" || word == "null") put(path, "word", word)
    else if (word ~ /^(0|-?[1-9][0-9]*)$/ && length(word) <= 15) put(path, "number", word)
    else fail()
  }
}

function object(path, depth,    name, mark) {
  put(path, "object", "")
  at++
  blanks()
  if (one() == "}") { at++; return }
  do {
    blanks()
    name = string()
    if (index(name, "\\") > 0) fail()
    gsub("/", "\\s", name) # no two paths may look alike
    name = path "/" name
    if (name in seen) fail()
    seen[name] = 1
    blanks()
    if (one() != ":") fail()
    at++
    blanks()
    value(name, depth + 1)
    blanks()
    mark = one()
    at++
  } while (mark == ",")
  if (mark != "}") fail()
}

function list(path, depth,    number, mark) {
  put(path, "list", "")
  at++
  blanks()
  if (one() == "]") { at++; return }
  number = 0
  do {
    blanks()
    value(path "/[" number "]", depth + 1)
    number++
    blanks()
    mark = one()
    at++
  } while (mark == ",")
  if (mark != "]") fail()
}

# What stands between the quotes, as written.
function string(    from, mark) {
  if (one() != "\"") fail()
  from = ++at
  while (at < end) {
    mark = one()
    if (mark == "\"") { at++; return substr(text, from, at - 1 - from) }
    if (mark ~ /[\t\n\r]/) fail()
    if (mark == "\\") escape()
    else at++
  }
  fail()
}

function escape(    what, hex) {
  what = substr(text, at + 1, 1)
  if (what == "u") {
    hex = substr(text, at + 2, 4)
    if (hex !~ /^[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]$/ || hex == "0000") fail()
    at += 6
    if (hex ~ /^[dD][89abAB]/) { # a pair, or nothing
      if (substr(text, at, 6) !~ /^\\u[dD][c-fC-F][0-9A-Fa-f][0-9A-Fa-f]$/) fail()
      at += 6
    } else if (hex ~ /^[dD][c-fC-F]/) fail()
  } else {
    if (what == "" || index("\"\\/bfnrt", what) == 0) fail()
    at += 2
  }
}
