# One stub of 16 bytes for each of the 32 exceptions, then the common part. The processor has
# switched to an IST stack (16-byte aligned) and pushed ss, rsp, rflags, cs, rip and for some
# vectors an error code. Operand filled in by exception.rs: handler.

    .section .text.vectors, "ax"
    .code64
    .balign 16
    .globl exception_vectors
exception_vectors:
    .set vector, 0
    .rept 32
    .balign 16
    # Vectors 8, 10-14, 17, 21, 29, 30 push an error code; for the others push 0 in its place.
    .if ((0x60227d00 >> vector) & 1) == 0
    pushq $0
    .endif
    pushq $vector
    jmp  exception_common
    .set vector, vector + 1
    .endr

# Push the registers in the order of `exception::Frame`, last field first.
exception_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi             # first argument: the frame
    call {handler}              # 22 words were pushed, so the stack is aligned for the call
    ud2                         # it never returns
