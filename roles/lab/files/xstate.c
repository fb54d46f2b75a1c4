// SPDX-License-Identifier: GPL-3.0-or-later
// User-Mode Linux up to 6.12 keeps 2696 bytes of a process's registers, which is all up to AVX-512. Where the processor has
// more (AMX), this machine's kernel takes them back only whole, so that no guest gets beyond its first process. Loaded
// before User-Mode Linux, this hands the kernel the whole of it. What is added is empty: a guest has no use of AMX, because
// a process must first ask its kernel for it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

static char whole[1 << 16] __attribute__((aligned(64)));
static size_t size;

typedef long (*tracer)(int, pid_t, void *, void *);

static size_t whole_size(tracer real, pid_t pid, void *kind)
{
	struct iovec probe = { whole, sizeof(whole) };

	if (!size && real(PTRACE_GETREGSET, pid, kind, &probe) == 0)
		size = probe.iov_len;
	return size;
}

long ptrace(enum __ptrace_request request, ...)
{
	static tracer real;
	va_list list;
	pid_t pid;
	void *address, *data;

	va_start(list, request);
	pid = va_arg(list, pid_t);
	address = va_arg(list, void *);
	data = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (tracer)dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		struct iovec *part = data;
		struct iovec all = { whole, whole_size(real, pid, address) };

		if (part->iov_len < all.iov_len && all.iov_len <= sizeof(whole)) {
			memset(whole, 0, all.iov_len);
			memcpy(whole, part->iov_base, part->iov_len);
			return real(request, pid, address, &all);
		}
	}
	return real(request, pid, address, data);
}
