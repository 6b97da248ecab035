# One hypercall from 32-bit protected mode without paging. See unpaged.rs.
#
# %edi number, %esi %edx %ecx arguments, %r8d = 32-bit code selector | 64-bit code selector << 16,
# %r9d = 0 for vmcall, else vmmcall. Result in %rax. The code and the stack are below 4 GiB.

    .section .text.luthier_unpaged_hypercall, "ax"
    .code64
    .globl luthier_unpaged_hypercall
luthier_unpaged_hypercall:
    pushq %rbx                  # leaving 64-bit mode leaves %r8 to %r15, and the upper half of all,
    pushq %rbp                  # undefined
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movl %edi, %eax             # as 32-bit hypercalls take them: %eax, %ebx, %ecx, %edx
    movl %esi, %ebx
    xchgl %edx, %ecx
    movl %r9d, %ebp
    movl %r8d, %esi
    leaq 3f(%rip), %rdi
    movl {cr0}(%rip), %r10d     # for both writes of it: to read it is an exit to Xen, too
    pushq %r10
    movzwl %r8w, %r10d
    leaq 1f(%rip), %r11
    pushq %r10
    pushq %r11
    lretq                       # to compatibility mode

    .code32
1:  shrl $16, %esi
    pushl %esi                  # the way back to 64-bit mode
    pushl %edi
    movl 8(%esp), %esi
    andl $0x7fffffff, %esi      # 31: paging
    movl %esi, %cr0
    testl %ebp, %ebp
    jnz 2f
    vmcall
    jmp 4f
2:  vmmcall
4:  movl 8(%esp), %esi
    movl %esi, %cr0
    lretl

    .code64
3:  movl %esp, %esp
    addq $8, %rsp
    movslq %eax, %rax
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
