# The session that runs a document. `$1` is the folder with the pieces. Calls of the functions below follow this text.

# The next calls of an operation of KMS fail: `kms_fail OPERATION CODE TIMES`.
kms_fail() {
    local address=${AWS_ENDPOINT_URL_KMS#http://} body
    body="{\"Operation\": \"$1\", \"Code\": \"$2\", \"Times\": $3}"
    exec 9<>"/dev/tcp/${address%:*}/${address#*:}" || return
    printf 'POST / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n' "$address" >&9
    printf 'X-Amz-Target: Fake.Fail\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body" >&9
    cat <&9 >/dev/null
    exec 9<&- 9>&-
}

__pieces=$1
set --
__was=0
trap 'kill $(jobs -p) 2>/dev/null' EXIT

# The exit code of one command is `$?` of the next.
__shown() {
    __text=$(<"$__pieces/$1")
    __number=$1
    exec >"$__pieces/$1.out" 2>&1
    (exit "$__was")
    eval "$__text"
    __was=$?
    echo "$__was" >"$__pieces/$__number.code"
}

__hidden() {
    __text=$(<"$__pieces/$1")
    __number=$1
    exec >"$__pieces/$1.out" 2>&1
    eval "$__text"
    echo $? >"$__pieces/$__number.code"
}

__file() {
    local name
    name=$(<"$__pieces/$1.name")
    mkdir -p "$(dirname "$name")" && cp "$__pieces/$1" "$name" || return
    if [[ $(head -c 2 "$name") == '#!' ]]; then
        chmod 755 "$name"
    fi
    echo 0 >"$__pieces/$1.code"
}

