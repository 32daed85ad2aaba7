/* A library to preload: what a tree of processes does to the files below DISK_ROOT is written to DISK_LOG, call by call, and
 * the calls may fail: number DISK_FAIL of them, with DISK_EVER all that follow, with errno DISK_ERRNO. Each of them takes
 * DISK_SLOW milliseconds more. DISK_COUNT is a file of 8 bytes that counts them, in all processes together. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define ALIAS(name) __attribute__((alias(#name)))
#define REAL(type, name) \
    static type (*real)(); \
    if (!real) \
        real = (type (*)())dlsym(RTLD_NEXT, #name);

struct record {
    char kind;
    char pad[3];
    uint32_t path, other;
    uint64_t offset, size, data;
} __attribute__((packed));

static int is_ours(const char *path)
{
    static const char *root;
    if (!root)
        root = getenv("DISK_ROOT");
    size_t length = root ? strlen(root) : 0;
    return length && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

/* The absolute path of a name in a folder; 0 where it is none of ours. */
static int named(char *into, int folder, const char *name)
{
    char start[4096] = "";
    if (!name)
        return 0;
    if (name[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(start, sizeof start))
                return 0;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t size = readlink(link, start, sizeof start - 1);
            start[size < 0 ? 0 : size] = 0;
        }
    }
    snprintf(into, 8192, "%s%s%s", start, name[0] == '/' ? "" : "/", name);
    return is_ours(into);
}

/* The path of an open file; 0 where it is none of ours, or has no name any more. */
static int opened(char *into, int file)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, into, 4095);
    into[size < 0 ? 0 : size] = 0;
    return is_ours(into) && !strstr(into, " (deleted)");
}

static void tell(char kind, const char *path, const char *other, uint64_t offset, uint64_t size, const struct iovec *data, int pieces)
{
    const char *log = getenv("DISK_LOG");
    if (!log)
        return;
    int before = errno;
    struct record head = {kind, {0}, strlen(path), other ? strlen(other) : 0, offset, size, data ? size : 0};
    struct iovec all[1027] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)other, head.other}};
    size_t left = head.data;
    int count = 3;
    for (int at = 0; at < pieces && left && count < 1027; at++) {
        all[count] = data[at];
        if (all[count].iov_len > left)
            all[count].iov_len = left;
        left -= all[count++].iov_len;
    }
    int file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    syscall(SYS_writev, file, all, count);
    syscall(SYS_close, file);
    errno = before;
}

/* Counts a call; 1 where it has to fail. */
static int strikes(void)
{
    static uint64_t *count;
    const char *slow = getenv("DISK_SLOW"), *name = getenv("DISK_COUNT"), *fail = getenv("DISK_FAIL");
    if (slow)
        usleep(1000 * atoi(slow));
    if (!name)
        return 0;
    if (!count) {
        int file = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
        count = mmap(0, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        syscall(SYS_close, file);
        if (count == MAP_FAILED)
            abort();
    }
    uint64_t number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST), chosen = fail ? strtoull(fail, 0, 10) : 0;
    if (!chosen || number < chosen || (number > chosen && !getenv("DISK_EVER")))
        return 0;
    errno = atoi(getenv("DISK_ERRNO"));
    return 1;
}

static int do_open(int folder, const char *name, int flags, mode_t mode)
{
    char path[8192];
    int makes = (flags & (O_CREAT | O_TRUNC)) && named(path, folder, name), was_there = 1;
    struct stat found;
    if (makes) {
        if (strikes())
            return -1;
        was_there = syscall(SYS_newfstatat, folder, name, &found, 0) == 0;
    }
    int file = syscall(SYS_openat, folder, name, flags, mode);
    if (file >= 0 && makes) {
        if (!was_there)
            tell('c', path, 0, 0, 0, 0, 0);
        else if ((flags & O_TRUNC) && found.st_size)
            tell('t', path, 0, 0, 0, 0, 0);
    }
    return file;
}

#define MODE(flags) \
    va_list more; \
    va_start(more, flags); \
    mode_t mode = va_arg(more, mode_t); \
    va_end(more);

int open(const char *path, int flags, ...)
{
    MODE(flags)
    return do_open(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) ALIAS(open);

int openat(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    return do_open(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) ALIAS(openat);

static ssize_t written(int file, const struct iovec *data, int pieces, ssize_t done, off_t offset)
{
    char path[4096];
    if (done > 0 && opened(path, file))
        tell('w', path, 0, offset >= 0 ? offset : syscall(SYS_lseek, file, 0, SEEK_CUR) - done, done, data, pieces);
    return done;
}

static int write_fails(int file)
{
    char path[4096];
    return opened(path, file) && strikes();
}

ssize_t write(int file, const void *data, size_t size)
{
    struct iovec piece = {(void *)data, size};
    return write_fails(file) ? -1 : written(file, &piece, 1, syscall(SYS_write, file, data, size), -1);
}

ssize_t writev(int file, const struct iovec *data, int pieces)
{
    return write_fails(file) ? -1 : written(file, data, pieces, syscall(SYS_writev, file, data, pieces), -1);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    struct iovec piece = {(void *)data, size};
    return write_fails(file) ? -1 : written(file, &piece, 1, syscall(SYS_pwrite64, file, data, size, offset), offset);
}
ssize_t pwrite64(int file, const void *data, size_t size, off_t offset) ALIAS(pwrite);

ssize_t pwritev(int file, const struct iovec *data, int pieces, off_t offset)
{
    REAL(ssize_t, pwritev)
    return write_fails(file) ? -1 : written(file, data, pieces, real(file, data, pieces, offset), offset);
}
ssize_t pwritev64(int file, const struct iovec *data, int pieces, off_t offset) ALIAS(pwritev);

ssize_t pwritev2(int file, const struct iovec *data, int pieces, off_t offset, int flags)
{
    REAL(ssize_t, pwritev2)
    return write_fails(file) ? -1 : written(file, data, pieces, real(file, data, pieces, offset, flags), offset);
}
ssize_t pwritev64v2(int file, const struct iovec *data, int pieces, off_t offset, int flags) ALIAS(pwritev2);

int ftruncate(int file, off_t size)
{
    char path[4096];
    int ours = opened(path, file);
    if (ours && strikes())
        return -1;
    int done = syscall(SYS_ftruncate, file, size);
    if (!done && ours)
        tell('t', path, 0, 0, size, 0, 0);
    return done;
}
int ftruncate64(int file, off_t size) ALIAS(ftruncate);

static int synced(int file, int call)
{
    char path[4096];
    int ours = opened(path, file);
    if (ours && strikes())
        return -1;
    int done = syscall(call, file);
    if (!done && ours)
        tell('s', path, 0, 0, 0, 0, 0);
    return done;
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

/* A call that changes names: by its kind, and the one or two names that it is about. */
static int changed(char kind, int folder, const char *name, int other_folder, const char *other, int flags)
{
    char path[8192], second[8192] = "";
    int ours = named(path, folder, name);
    if (other)
        ours |= named(second, other_folder, other);
    if (ours && strikes())
        return -1;
    int done = kind == 'r' ? syscall(SYS_renameat, folder, name, other_folder, other)
             : kind == 'l' ? syscall(SYS_linkat, folder, name, other_folder, other, flags)
             : kind == 'm' ? syscall(SYS_mkdirat, folder, name, flags)
             : syscall(SYS_unlinkat, folder, name, flags);
    if (!done && ours)
        tell(kind == 'u' && flags ? 'd' : kind, path, second, 0, 0, 0, 0);
    return done;
}

int rename(const char *name, const char *other) { return changed('r', AT_FDCWD, name, AT_FDCWD, other, 0); }
int renameat(int folder, const char *name, int second, const char *other) { return changed('r', folder, name, second, other, 0); }
int link(const char *name, const char *other) { return changed('l', AT_FDCWD, name, AT_FDCWD, other, 0); }
int linkat(int folder, const char *name, int second, const char *other, int flags) { return changed('l', folder, name, second, other, flags); }
int mkdir(const char *name, mode_t mode) { return changed('m', AT_FDCWD, name, 0, 0, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return changed('m', folder, name, 0, 0, mode); }
int unlink(const char *name) { return changed('u', AT_FDCWD, name, 0, 0, 0); }
int rmdir(const char *name) { return changed('u', AT_FDCWD, name, 0, 0, AT_REMOVEDIR); }
int unlinkat(int folder, const char *name, int flags) { return changed('u', folder, name, 0, 0, flags); }
