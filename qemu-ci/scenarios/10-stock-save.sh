# The lab itself: a guest that works is saved and restored by stock tools, and its checkers
# notice whether that was exact. What holds here must hold for our images too.
start_guest s1 256 1 rate=20 rewrite_mib=32 rewrite_rate=2000
await_line s1 '^region 0 filled'
step "saving by stock xl"
run xl save s1 "$IMAGES/s1.xl"
await 20 "end of s1" gone s1
keep_console s1
run verify-stream-v2 -f xl -i "$IMAGES/s1.xl"

step "restoring by stock xl"
run xl restore "$IMAGES/s1.xl"
continues_from s1.log s1
memory_right s1

step "a damaged stream is noticed"
head -c 1000000 "$IMAGES/s1.xl" >"$IMAGES/short.xl"
refused verify-stream-v2 -f xl -i "$IMAGES/short.xl"
