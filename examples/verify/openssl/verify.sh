#!/bin/sh
# Verifies a Keywright license file, license token or lease without a network, with OpenSSL 3 and the tools of
# POSIX. See README.md. Exit status: 0 it counts, 1 it does not (one line says why), 2 it could not be checked.

set -u
LC_ALL=C
export LC_ALL
here=$(dirname -- "$0")
openssl=${OPENSSL:-openssl}

usage() {
  cat >&2 <<'TEXT'
usage: verify.sh --keys JWKS --iss ISSUER --aud PRODUCT [options] FILE

  FILE               a license file, or a file with a token or a lease; - for standard input
  --keys JWKS        file with the server's keys: what GET /.well-known/jwks.json answered
  --iss ISSUER       whose licenses count: https://your-server/t/TENANT-ID
  --aud PRODUCT      for which product: its slug
  --fingerprint F    what names this machine; needed for whatever is bound to one
  --lease            FILE holds a lease, not a license
  --nonce N          the lease must answer this nonce
  --perpetual        a license token without an end counts, too
  --now SECONDS      unix time to judge by; the clock of this machine when left out
TEXT
  exit 2
}

unusable() {
  printf '%s\n' "$1" >&2
  exit 2
}

refuse() {
  printf 'refused: %s\n' "$1" >&2
  exit 1
}

# How many bytes of standard input are none of these, as `tr` names them.
foreign() { tr -d "$1" | wc -c | tr -d ' '; }

# decode TEXT FILE: base64url, and only the one canonical spelling: writing it anew must give the same.
decode() {
  case $((${#1} % 4)) in
    0) padding='' ;;
    2) padding='==' ;;
    3) padding='=' ;;
    *) return 1 ;;
  esac
  printf '%s%s\n' "$1" "$padding" | tr '_-' '/+' | "$openssl" base64 -d -A >"$2" 2>/dev/null || return 1
  [ "$("$openssl" base64 -A <"$2" | tr '/+' '_-' | tr -d '=')" = "$1" ]
}

# json FILE: what is in it, a line each; see json.awk. First the bytes: UTF-8 (RFC 3629) and no control characters
# but the blanks of JSON.
json() {
  od -An -v -tu1 "$1" | awk '
    { for (i = 1; i <= NF; i++) {
        b = $i + 0
        if (more) {
          if (b < low || b > high) { bad = 1; exit }
          low = 128; high = 191; more--
        } else if (b < 128) {
          if (b < 32 && b != 9 && b != 10 && b != 13) { bad = 1; exit }
        } else {
          more = b >= 194 && b <= 223 ? 1 : b >= 224 && b <= 239 ? 2 : b >= 240 && b <= 244 ? 3 : 0
          if (!more) { bad = 1; exit }
          low = b == 224 ? 160 : b == 240 ? 144 : 128
          high = b == 237 ? 159 : b == 244 ? 143 : 191
        } } }
    END { exit bad || more }' && awk -f "$here/json.awk" "$1"
}

keys='' iss='' aud='' fingerprint='' nonce='' now='' file='' typ=lic+jwt perpetual=0
while [ $# -gt 0 ]; do
  case $1 in
    --keys | --iss | --aud | --fingerprint | --nonce | --now)
      [ $# -ge 2 ] || usage
      case $1 in
        --keys) keys=$2 ;;
        --iss) iss=$2 ;;
        --aud) aud=$2 ;;
        --fingerprint) fingerprint=$2 ;;
        --nonce) nonce=$2 ;;
        --now) now=$2 ;;
      esac
      shift 2
      ;;
    --lease) typ=lease+jwt && shift ;;
    --perpetual) perpetual=1 && shift ;;
    --) shift && break ;;
    -?*) usage ;;
    *) break ;;
  esac
done
[ $# -eq 1 ] && file=$1
[ -n "$keys" ] && [ -n "$iss" ] && [ -n "$aud" ] && [ -n "$file" ] || usage
[ -n "$now" ] || now=$(date +%s)
case $now in *[!0-9]* | ?????????????*) unusable "--now takes unix seconds" ;; esac
case $("$openssl" version 2>/dev/null) in
  'OpenSSL '[3-9].*) ;;
  *) unusable "OpenSSL 3 is needed; set OPENSSL to its path" ;;
esac

work=$(mktemp -d) || unusable "no place for temporary files"
trap 'rm -rf "$work"' EXIT
trap 'exit 2' HUP INT TERM

# -- the token, out of its file -----------------------------------------------------------------------

if [ "$file" = - ]; then head -c 65537 >"$work/given"; else head -c 65537 -- "$file" >"$work/given"; fi 2>/dev/null ||
  unusable "$file cannot be read"
[ "$(wc -c <"$work/given")" -le 65536 ] || refuse size
[ "$(foreign 'A-Za-z0-9_. \t\r\n-' <"$work/given")" = 0 ] || refuse encoding
token=$(awk '
  !begun && /^[ \t\r]*$/ { blank = 1; next }
  !begun { begun = 1; file = /^[ \t]*-----/; bad = blank && !file }
  file { gsub(/^[ \t]+|[ \t\r]+$/, ""); if ($0 != "") line[++lines] = $0; next }
  token != "" { bad = 1 }
  { sub(/\r$/, ""); if (/[ \t\r]/ || $0 == "") bad = 1; token = token $0 }
  END {
    if (file) {
      if (lines < 3 || line[1] != "-----BEGIN KEYWRIGHT LICENSE-----") bad = 1
      if (line[lines] != "-----END KEYWRIGHT LICENSE-----") bad = 1
      for (i = 2; i < lines; i++) token = token line[i]
    }
    if (!bad) print token
    exit bad
  }' "$work/given") || refuse shape

[ "${#token}" -le 8192 ] || refuse size
header=${token%%.*} rest=${token#*.}
payload=${rest%%.*} signature=${rest#*.}
[ "$token" = "$header.$payload.$signature" ] || refuse shape
case $signature in *.*) refuse shape ;; esac
decode "$header" "$work/header" || refuse encoding
decode "$payload" "$work/payload" || refuse encoding
decode "$signature" "$work/signature" || refuse encoding

# -- the header: exactly alg, kid and typ, and a key that is ours --------------------------------------

json "$work/header" >"$work/header.lines" || refuse json
kid=$(TYP=$typ awk -F '\t' '
  { kind[$1] = $2; held[$1] = $3 }
  END {
    texts = kind["/alg"] == "string" && kind["/kid"] == "string" && kind["/typ"] == "string"
    if (NR != 4 || !texts || held["/kid"] "" == "") { print "header"; exit 1 }
    if (held["/alg"] != "EdDSA" && held["/alg"] != "Ed25519") { print "alg"; exit 1 }
    if (held["/typ"] "" != ENVIRON["TYP"] "") { print "typ"; exit 1 }
    print held["/kid"]
  }' "$work/header.lines") || refuse "$kid"

json "$keys" >"$work/keys.lines" 2>/dev/null || unusable "$keys is no key set"
x=$(TYP=$typ KID=$kid awk -F '\t' '
  split($1, at, "/") == 4 && at[2] == "keys" { known[at[3]] = 1; held[at[3], at[4]] = $2 == "string" ? $3 : "" }
  END {
    for (one in known) {
      if (held[one, "kty"] != "OKP" || held[one, "crv"] != "Ed25519") continue
      if (held[one, "kid"] "" == ENVIRON["KID"] "") { found++; ours = one }
    }
    # `typ`, where the set has it, is the one type of token that the key may sign.
    if (found != 1 || ((ours, "typ") in held && held[ours, "typ"] "" != ENVIRON["TYP"] "")) exit 1
    print held[ours, "x"]
  }' "$work/keys.lines") || refuse kid
decode "$x" "$work/x" || unusable "$keys is no key set"
[ "$(wc -c <"$work/x")" -eq 32 ] || unusable "$keys is no key set"

# -- the signature, over the text as received ----------------------------------------------------------

[ "$(wc -c <"$work/signature")" -eq 64 ] || refuse signature
# An Ed25519 public key in DER (RFC 8410) is twelve fixed bytes and the key.
{ printf '\060\052\060\005\006\003\053\145\160\003\041\000' && cat "$work/x"; } >"$work/key"
printf '%s' "$header.$payload" >"$work/signed"
"$openssl" pkeyutl -verify -rawin -pubin -keyform DER -inkey "$work/key" \
  -in "$work/signed" -sigfile "$work/signature" >/dev/null 2>&1 || refuse signature

# -- the claims ----------------------------------------------------------------------------------------

json "$work/payload" >"$work/claims" || refuse json
mid=''
if [ -n "$fingerprint" ]; then
  mid=$(printf '%s\000%s' "$aud" "$fingerprint" | "$openssl" dgst -sha256 -binary | head -c 16 |
    "$openssl" base64 -A | tr '/+' '_-' | tr -d '=')
fi
said=$(TYP=$typ ISS=$iss AUD=$aud NOW=$now MID=$mid NONCE=$nonce PERPETUAL=$perpetual \
  awk -f "$here/claims.awk" "$work/claims") || refuse "$said"
printf '%s\n' "$said"
