# Runs the QEMU processes of one lab: starts them, waits, says how it went, and leaves none
# behind, whatever ends the lab.
#
# Sourced by `lab`. Wants the options of `lab run`.

# One CPU a host, or CPU 0 for Dom0 alone and the others for guests and the stub (dom0/init): on a CPU that
# it shares with other CPUs' interrupts, QEMU's emulation of SVM (7.2, the same in one thread) now and then
# leaves a guest with the registers of Xen, which ends it by a triple fault. Of eight guests under load and
# pinned, those on CPU 0 were lost one a minute, those on CPU 1 never.
#
# Seen to work with a PV Dom0 in emulation; `max` and EPYC crash early.
LAB_CPU=qemu64,+svm,+npt,+aes,+pclmulqdq,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand,+x2apic,+invtsc

qemu_pids=()
# Also what takes space: a run's logs stay, its initrd and disks don't.
stop_hosts() {
    local pid
    for pid in ${qemu_pids[@]+"${qemu_pids[@]}"}; do
        kill -KILL "$pid" && wait "$pid" # wait: bash would tell of the killed job itself
    done 2>/dev/null
    qemu_pids=()
    rm -f "$run_dir"/{initrd-*,disk-*,monitor-*,pid-*}
}

# Removes the same of runs that were killed outright.
sweep_dead_runs() {
    local file
    for file in "$REPO"/target/lab/*/{initrd-*,disk-*,monitor-*}; do
        [ -e "$file" ] || continue
        kill -0 "$(basename "$(dirname "$file")" | sed 's/.*-//')" 2>/dev/null || rm -f "$file"
    done
}

# A byte (XON, which a terminal swallows) to the second serial port, twice a second. QEMU's vmrun changes the CPU's
# pending interrupts without a lock and so loses one now and then; when that was Xen's timer,
# the host would sleep for ever. Any later interrupt makes QEMU look again.
nudge() {
    while printf '\021' && sleep 0.5; do :; done
}

# Words that join host $1 to the network of all $hosts hosts: a cable from host 0 to each other one, whose
# bridge is the switch. (QEMU's network for many, by multicast, gives each host back what it sent, and
# bridges then look for their own guests outside.)
network_words() {
    local other
    [ "$hosts" -gt 1 ] || { echo -nic none; return; }
    if [ "$1" != 0 ]; then
        cable "$1" 0 $((net_port + 2 * $1)) $((net_port + 2 * $1 + 1))
        return
    fi
    for ((other = 1; other < hosts; other++)); do
        cable 0 "$other" $((net_port + 2 * other + 1)) $((net_port + 2 * other))
    done
}

# cable HOST OTHER PORT PEER_PORT: one end.
cable() {
    echo -netdev "dgram,id=n$2,local.type=inet,local.host=127.0.0.1,local.port=$3,remote.type=inet,remote.host=127.0.0.1,remote.port=$4"
    echo -device "e1000e,netdev=n$2,mac=$(printf '52:54:00:00:%02x:%02x' "$2" "$1")"
}

# The release that host $1 runs.
release_of() { echo "${releases[$1]:-${releases[-1]}}"; }

# What the hosts of a release boot: the images made once, and what this run adds.
make_initrd() {
    local images=("$LAB_CACHE/$1/boot/base.cpio")
    [ "$net" = no ] || images+=("$LAB_CACHE/$1-net/boot/dom0.cpio")
    [ "$disks" = no ] || images+=("$LAB_CACHE/$1-disks/boot/dom0.cpio")
    [ "$qdisk" = no ] || images+=("$LAB_CACHE/$1-qdisk/boot/dom0.cpio")
    mkdir -p "$run_dir/overlay"
    stage_overlay "$run_dir/overlay" "$1"
    { cat "${images[@]}" && cpio_of "$run_dir/overlay"; } >"$run_dir/initrd-$1" ||
        die "could not make the initrd"
    rm -rf "$run_dir/overlay"
}

# Starts host $1; its script output goes to this function's stdout.
start_host() {
    local host=$1 accel=multi clock=() slower=() release boot
    release=$(release_of "$host")
    boot=$LAB_CACHE/$release/boot
    # An instruction is 8 ns, and idle time is jumped over. Two hosts must agree on the time: there
    # an instruction is 16 ns, which QEMU manages on a busy machine too, and nothing runs ahead.
    if [ "$steady" = yes ]; then
        accel=single
        [ "$hosts" -gt 1 ] && clock=(-icount shift=4,sleep=on,align=on) || clock=(-icount shift=3,sleep=off)
    fi
    # QEMU is told a clock that is slower (what Gupta et al. call time dilation, NSDI 2006). The timestamp
    # counter is not, so Xen finds a processor of so many times the frequency, which is what it is.
    [ "$dilate" = 1 ] || slower=(env "LD_PRELOAD=$DILATION" "FAKETIME=+0 x$(awk "BEGIN { print 1 / $dilate }")")
    # setpriv: the kernel ends QEMU when this shell dies, even by SIGKILL.
    # shellcheck disable=SC2046 # words
    exec setpriv --pdeathsig KILL ${slower[@]+"${slower[@]}"} "${QEMU[@]}" ${LUTHIER_LAB_QEMU_ARGS:-} ${clock[@]+"${clock[@]}"} \
        -machine q35 -cpu "$LAB_CPU" -accel "tcg,thread=$accel" -smp "$cpus" -m "$mem" \
        -kernel "$boot/xen" \
        -append "console=com1 com1=115200,8n1 dom0_mem=${dom0_mem}M,max:${dom0_mem}M dom0_max_vcpus=1 dom0_vcpus_pin loglvl=info guest_loglvl=all bootscrub=0 $xen_words" \
        -initrd "$boot/vmlinux console=hvc0 quiet panic=1 lab.host=$host lab.hosts=$hosts lab.xen=$release lab.cpus=$cpus $dom0_words,$run_dir/initrd-$release" \
        -serial "file:$run_dir/xen-$host.log" \
        -chardev stdio,id=out,signal=off -serial chardev:out \
        -drive "file=$run_dir/disk-$host,format=raw,if=none,id=d0,cache=unsafe" -device ide-hd,drive=d0 \
        $(network_words "$host") \
        -display none -monitor "unix:$run_dir/monitor-$host,server=on,wait=off" -no-reboot < <(nudge) 2>"$run_dir/qemu-$host.log"
}

# Does what host 0 asks for on its console (dom0/power): `lab: power N off` is a cable that is pulled,
# and `on` boots that host again, with the disk that it had. Hosts that it starts end with it.
serve_power() {
    local host switch
    while read -r host switch; do
        if [ "$switch" = off ]; then
            kill -KILL "$(cat "$run_dir/pid-$host")"
        else
            cat "$run_dir/xen-$host.log" >>"$run_dir/xen-$host-before.log"
            start_host "$host" >/dev/null &
            echo $! >"$run_dir/pid-$host"
        fi
    done < <(tail -n +1 -F --pid=$$ "$run_dir/xen-0.log" | sed -un 's/.*lab: power \([1-9]\) \(o[nf]*\).*/\1 \2/p')
}

show_end_of_logs() {
    say "the last lines of $run_dir/xen-0.log:"
    tail -n 40 "$run_dir/xen-0.log" 2>/dev/null | tr -d '\r' | cat -v >&2
    [ ! -s "$run_dir/qemu-0.log" ] || cat "$run_dir/qemu-0.log" >&2
}

# Boots the hosts, waits for host 0, collects its files; exits with the script's status.
run_hosts() {
    local id host watchdog
    id=$(date -u +%Y%m%d-%H%M%S)-$$
    run_dir=$REPO/target/lab/$id
    net_port=$((20000 + $$ % 2500 * 8))
    sweep_dead_runs
    mkdir -p "$run_dir/out" || exit 125
    [ "$build" = no ] || build_project
    for ((host = 0; host < hosts; host++)); do
        [ -e "$run_dir/initrd-$(release_of "$host")" ] || make_initrd "$(release_of "$host")"
    done

    trap stop_hosts EXIT
    trap 'stop_hosts; trap - INT; kill -INT $$' INT
    trap 'exit 143' TERM HUP
    for ((host = hosts - 1; host >= 0; host--)); do
        truncate -s 2G "$run_dir/disk-$host"
        if [ "$host" = 0 ]; then
            start_host 0 > >(exec tee "$run_dir/output") &
        else
            start_host "$host" >/dev/null &
        fi
        qemu_pids+=($!)
        echo $! >"$run_dir/pid-$host"
    done
    local main=${qemu_pids[-1]}
    serve_power 2>/dev/null &
    qemu_pids+=($!)
    # Without a child (`sleep`), which would outlive it, and whatever was locked for this run with it.
    setpriv --pdeathsig KILL bash -c 'read -r -t "$1" <> <(:); touch "$2/timed-out"; kill -KILL "$3"' \
        watchdog "$((timeout * dilate))" "$run_dir" "$main" >/dev/null 2>&1 &
    watchdog=$!
    wait "$main" 2>/dev/null
    kill "$watchdog" 2>/dev/null
    finish_run
}

# Takes the files out of host 0's disk and ends with the status that the script left there.
finish_run() {
    local status=''
    if [ -e "$run_dir/timed-out" ]; then
        say "no end after $timeout s: stopped"
        show_end_of_logs
        status=124
    else
        tar -x -C "$run_dir" --no-same-owner -f "$run_dir/disk-0" 2>/dev/null
        status=$(cat "$run_dir/status" 2>/dev/null)
        if [ -z "$status" ]; then
            say "Xen or Dom0 went down before the script had ended"
            show_end_of_logs
            status=125
        fi
    fi
    if [ "$keep" = yes ] || [ "$status" != 0 ]; then say "logs in $run_dir"; fi
    exit "$status"
}
