# From the domain builder's jump to the first Rust function.
#
# The PVH ABI (Xen's docs/misc/pvh.pandoc): 32-bit protected mode, flat segments, paging off,
# interrupts off, %ebx = physical address of hvm_start_info. Everything else is unspecified.
# Operands filled in by entry.rs: gdt, main_stack, main_stack_size, rust_entry.

    .section .note.Xen, "a", @note
    .balign 4
    .long 4                     # size of the name
    .long 8                     # size of the description (QEMU reads 8 bytes from a 64-bit ELF)
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad pvh_start

    .section .text.boot, "ax"
    .code32
    .globl pvh_start
pvh_start:
    cli                         # and never again on
    cld
    movl %ebx, %ebp             # keep start_info

# First page tables: 0 to 4 GiB one to one in pages of 2 MiB, everything allowed. They serve only
# until paging.rs has built the real ones. The loader zeroed them with the rest of .bss.
point_pml4_at_pdpt:
    movl $boot_pdpt, %eax
    orl  $0x3, %eax             # 0: present, 1: writable
    movl %eax, boot_pml4

point_pdpt_at_four_directories:
    movl $boot_pd, %eax
    orl  $0x3, %eax             # 0: present, 1: writable
    movl $boot_pdpt, %edi
    movl $4, %ecx
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    decl %ecx
    jnz  1b

fill_four_directories:
    movl $boot_pd, %edi
    movl $0x83, %eax            # 0: present, 1: writable, 7: a page of 2 MiB
    movl $2048, %ecx
2:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz  2b

enter_long_mode:
    movl $0x620, %eax           # CR4 5: PAE, 9: OSFXSR (SSE), 10: OSXMMEXCPT (SSE faults as #XM)
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx      # EFER
    rdmsr
    orl  $0x100, %eax           # 8: long mode enable
    wrmsr
    movl $0x80010033, %eax      # CR0 0: protection, 1: MP, 4: ET, 5: NE, 16: WP, 31: paging;
    movl %eax, %cr0             # 2 (EM) and 3 (TS) stay clear, so that SSE works
    lgdt boot_gdt_pointer
    ljmp $0x08, $long_mode      # 0x08: the 64-bit code segment

    .code64
long_mode:
    movl $0x10, %eax            # 0x10: the data segment
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs

prepare_sse:                    # core is compiled to use it anywhere
    fninit
    ldmxcsr boot_mxcsr(%rip)

call_rust:
    movl $({main_stack} + {main_stack_size}), %esp  # 16-byte aligned; the upper half of %rsp becomes zero
    movl %ebp, %edi             # first argument: start_info
    xorl %ebp, %ebp
    call {rust_entry}
    ud2                         # it never returns

    .section .rodata.boot, "a"
    .balign 8
boot_gdt_pointer:
    .word 6 * 8 - 1
    .long {gdt}
    .balign 4
boot_mxcsr:
    .long 0x1f80                # all SSE exceptions masked, round to nearest

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4096 * 4
