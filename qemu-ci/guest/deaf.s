# A guest that is not Linux and never looks at xenstore: it answers no suspend request.
#
# PVH entry: 32-bit protected mode, paging off, interrupts off. It says on port 0xe9 (Xen's
# log, with guest_loglvl=all) that it runs, then counts in its memory for ever. It must never
# halt: with interrupts off Xen would end the domain.

    .section .note.Xen, "a", @note
    .balign 4
    .long 4                     # name size
    .long 4                     # description size
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY (xen/include/public/elfnote.h)
    .asciz "Xen"
    .long start

    .text
    .code32
    .globl start
start:
    movl $message, %esi
    movl $(message_end - message), %ecx
    movw $0xe9, %dx
    cld
    rep outsb
count:
    incl counter
    pause
    jmp count

    .data
message:
    .ascii "deaf guest runs\n"
message_end:
    .balign 4096
counter:
    .long 0
