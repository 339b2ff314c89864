# Judges the claims of a token, as json.awk prints them. What counts comes in the environment: TYP ISS AUD NOW
# MID (this machine's, or nothing) NONCE PERPETUAL. Prints the first rule that is broken and exits 1, or prints
# what the token says.

BEGIN { FS = "\t"; SKEW = 60; LATEST = 253402300799; MOST = 2147483647 }

{ kind[$1] = $2; held[$1] = $3 }

END {
  now = ENVIRON["NOW"] + 0
  lease = ENVIRON["TYP"] == "lease+jwt"
  # A comparison of texts: awk would take "1e1" and "10" for equal numbers.
  if (!text("/iss") || held["/iss"] "" != ENVIRON["ISS"] "") refuse("iss")
  if (!text("/aud") || held["/aud"] "" != ENVIRON["AUD"] "") refuse("aud")
  if (!text("/sub")) refuse("sub")
  times()
  content()
  if (lease) lease_only()
  if (("/mid" in kind) && ENVIRON["MID"] == "") refuse("fingerprint_needed")
  if (("/mid" in kind) && held["/mid"] "" != ENVIRON["MID"] "") refuse("mid")
  until = lease ? held["/lexp"] : ("/exp" in kind ? held["/exp"] : "ever")
  print "valid: " held["/aud"] "/" shown("/plan") ", " shown("/seats") " seats, until " until
}

function refuse(reason) { print reason; exit 1 }

function shown(name) { return name in kind ? held[name] : "?" }

function text(name) { return name in kind && kind[name] == "string" && held[name] "" != "" }

function number(name, most) {
  return name in kind && kind[name] == "number" && held[name] + 0 >= 0 && held[name] + 0 <= most
}

function is(name, what) { return name in kind && kind[name] == what }

function none(name) { return is(name, "word") && held[name] == "null" }

function demand(name, right) { if (!right) refuse("claim: " substr(name, 2)) }

function allow(name, right) { if (name in kind && !right) refuse("claim: " substr(name, 2)) }

function times() {
  demand("/iat", number("/iat", LATEST))
  if (lease || ENVIRON["PERPETUAL"] != "1") demand("/exp", number("/exp", LATEST))
  allow("/nbf", number("/nbf", LATEST))
  allow("/exp", number("/exp", LATEST))
  if (held["/iat"] + 0 > now + SKEW) refuse("not_yet_valid")
  if ("/nbf" in kind && held["/nbf"] + 0 > now + SKEW) refuse("not_yet_valid")
  if ("/exp" in kind && now >= held["/exp"] + SKEW) refuse("expired")
}

function content(    name) {
  if ("/v" in kind && !(is("/v", "number") && held["/v"] "" == "1")) refuse("version")
  allow("/jti", text("/jti"))
  allow("/plan", text("/plan"))
  allow("/status", text("/status"))
  allow("/firm", text("/firm"))
  allow("/seats", number("/seats", MOST))
  allow("/off", number("/off", MOST))
  allow("/entitled_until", number("/entitled_until", LATEST) || none("/entitled_until"))
  allow("/grace_until", number("/grace_until", LATEST) || none("/grace_until"))
  allow("/mid", text("/mid") && length(held["/mid"]) == 22 && held["/mid"] !~ /[^A-Za-z0-9_-]/)
  allow("/entitlements", is("/entitlements", "list"))
  allow("/limits", is("/limits", "object"))
  for (name in kind) {
    if (name ~ /^\/entitlements\/\[[0-9]+\]$/) demand("/entitlements", text(name))
    if (name ~ /^\/limits\/[^\/]*$/) demand("/limits", number(name, MOST))
  }
}

function lease_only() {
  demand("/mid", text("/mid"))
  demand("/lexp", number("/lexp", LATEST))
  demand("/srv", number("/srv", LATEST))
  demand("/seq", number("/seq", 999999999999999))
  demand("/code", text("/code"))
  allow("/nonce", text("/nonce"))
  if (now >= held["/lexp"] + SKEW) refuse("lease_ended")
  if (ENVIRON["NONCE"] != "" && held["/nonce"] "" != ENVIRON["NONCE"] "") refuse("nonce")
}
