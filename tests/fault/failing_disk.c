/* A disk that fails, for one process: preload it, and the FAULT_AT-th call that writes below the
   folder FAULT_BELOW fails with the number FAULT_ERRNO. With FAULT_WHILE every later call fails
   too, as long as that file is there. Every such call is noted in FAULT_NOTES, a line each.
   Calls: write, pwrite, fsync, fdatasync, ftruncate, fallocate, rename, unlink. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int num_calls;

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static int is_below(const char *path) {
    const char *folder = getenv("FAULT_BELOW");
    size_t length = folder ? strlen(folder) : 0;
    return length && strncmp(path, folder, length) == 0 && path[length] == '/';
}

static void note(const char *call, const char *path) {
    const char *notes = getenv("FAULT_NOTES");
    char line[4400];
    int length, fd;
    if (!notes) return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, notes, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (fd < 0) return;
    length = snprintf(line, sizeof line, "%s %s\n", call, path);
    syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

/* 1 and errno set where this call shall fail */
static int fails(const char *call, const char *path) {
    const char *lasting = getenv("FAULT_WHILE");
    int now, at = number("FAULT_AT");
    if (!is_below(path)) return 0;
    now = __sync_add_and_fetch(&num_calls, 1);
    note(call, path);
    if (!at || now < at) return 0;
    if (now > at && (!lasting || syscall(SYS_faccessat, AT_FDCWD, lasting, F_OK))) return 0;
    errno = number("FAULT_ERRNO");
    return 1;
}

static int fails_open(const char *call, int fd) {
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

#define OPEN_FILE(type, name, declared, passed)                            \
    type name declared {                                                   \
        static type(*real) declared;                                       \
        if (!real) real = (type(*) declared)dlsym(RTLD_NEXT, #name);       \
        return fails_open(#name, fd) ? (type)-1 : real passed;             \
    }

OPEN_FILE(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
OPEN_FILE(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
OPEN_FILE(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at),
          (fd, data, size, at))
OPEN_FILE(int, fsync, (int fd), (fd))
OPEN_FILE(int, fdatasync, (int fd), (fd))
OPEN_FILE(int, ftruncate, (int fd, off_t size), (fd, size))
OPEN_FILE(int, ftruncate64, (int fd, off64_t size), (fd, size))
OPEN_FILE(int, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))

/* this one returns its error */
int posix_fallocate(int fd, off_t at, off_t size) {
    static int (*real)(int, off_t, off_t);
    if (!real) real = (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate");
    return fails_open("posix_fallocate", fd) ? number("FAULT_ERRNO") : real(fd, at, size);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    return fails("rename", to) ? -1 : real(from, to);
}

int unlink(const char *path) {
    static int (*real)(const char *);
    if (!real) real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    return fails("unlink", path) ? -1 : real(path);
}
