/* Counts the libc calls that can change something below one root, and strikes the N-th of them.
 *
 * LD_PRELOADed by shim.py. All processes of a run share one counter (a mapped file). What it cannot see: static
 * binaries, stores into mapped files (SQLite's -shm in WAL mode), io_uring, ioctl(FICLONE), stdio's fopen(), and a
 * function looked up in libc itself: dlsym() on a handle of libc.so.6 walks past every preloaded library, so ctypes
 * must use CDLL(None). Replaying a record (crashstates.py) fails when a change went past the shim.
 *
 * A record is one line a call, tab-separated, odd bytes of paths as %XX:
 *   n call result argument fresh inode mode uid gid path other data(hex)
 * "argument" is open's or renameat2's flags, the offset of a write, the size that truncate or fallocate left; inode,
 * mode and owner are those after the call. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif
/* The order is shim.py's MODES. */
enum { COUNT, KILL, AFTER, TORN, SHORT, ERR, STICKY, FULL, TERM, POWER, MEDDLE, REFUSE };
enum { ENTRY = 4096 };                     /* bytes that a new name or inode is taken to need */
struct shared { int n, hit; long credit; };
static struct shared *S;
static int at_n, mode, eno, logfd = -1, with_data;
static char root[PATH_MAX];
static size_t rootlen;
static __thread char P[PATH_MAX + 300], Q[PATH_MAX + 300];
static __thread struct stat now;           /* the object after the call */

/* ---- paths ---------------------------------------------------------------------------------------------------- */
static const char *fd_path(int fd, char *out) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t k = readlink(link, out, PATH_MAX - 1);
  out[k < 0 ? 0 : k] = 0;
  return out;
}
/* dirfd and path as one absolute path; links in the parent are resolved, the last part is not. */
static const char *at_path(int dir, const char *path, char *out) {
  static __thread char text[PATH_MAX * 2], real[PATH_MAX], base[PATH_MAX];
  int keep = errno;
  if (*path == '/') snprintf(text, sizeof text, "%s", path);
  else {
    if (dir != AT_FDCWD) fd_path(dir, base);
    else if (!getcwd(base, sizeof base)) *base = 0;
    snprintf(text, sizeof text, "%s/%s", base, path);
  }
  size_t n = strlen(text);
  while (n > 1 && text[n - 1] == '/') text[--n] = 0;
  char *slash = strrchr(text, '/');
  *slash = 0;
  snprintf(out, PATH_MAX + 300, "%s/%s", realpath(*text ? text : "/", real) ? real : text, slash + 1);
  errno = keep;
  return out;
}
static int below(const char *path) {
  return rootlen && !strncmp(path, root, rootlen) && (path[rootlen] == '/' || !path[rootlen]);
}
static int fd_below(int fd) { int keep = errno, yes = below(fd_path(fd, P)); errno = keep; return yes; }
static int at_below(int dir, const char *path) { return path && below(at_path(dir, path, P)); }
static int two_below(int d, const char *p, int e, const char *q) {
  return p && q && (at_path(d, p, P), at_path(e, q, Q), below(P) || below(Q));
}

/* ---- the strike ------------------------------------------------------------------------------------------------ */
static void die(void) { kill(0, SIGKILL); kill(getpid(), SIGKILL); pause(); }
static void power_off(void) {              /* FS_IOC_SHUTDOWN without flushing the log: ext4 and xfs know it */
  int f = open(root, O_RDONLY | O_DIRECTORY), without_flush = 2;
  if (ioctl(f, _IOR('X', 125, unsigned), &without_flush)) S->hit = -errno;
  die();
}
static void meddle(void) {                 /* somebody else acts right before this call */
  const char *command = getenv("KP_MEDDLE");
  pid_t pid = command ? fork() : -1;
  if (!pid) {
    S = 0; unsetenv("LD_PRELOAD"); unsetenv("KP_ARM");
    execl("/bin/sh", "sh", "-c", command, (char *)0);
    _exit(127);
  }
  int status = -1;
  if (pid > 0) waitpid(pid, &status, 0);
  if (status) S->hit = -EINVAL;            /* a command that fails has not meddled: said, not passed over */
}
/* A full disk refuses what needs space, and nothing else: unlink, rmdir, chmod, chown, fsync, exchange and a rename
 * onto an existing name go through. STICKY: freed bytes are gone at once. FULL: they can be used again. */
static int refused(long need) {
  if (eno != ENOSPC) return 1;
  if (need <= 0) return 0;
  if (mode == FULL && S->credit >= need) { __sync_sub_and_fetch(&S->credit, need); return 0; }
  return 1;
}
static int enter(long need) {              /* counts the call; says what to do with it */
  int n = __sync_add_and_fetch(&S->n, 1), lasting = mode == STICKY || mode == FULL;
  if (!at_n || (lasting ? n < at_n : n != at_n)) return COUNT;
  if (!S->hit) S->hit = n;
  if (lasting) return refused(need) ? REFUSE : COUNT;
  int keep = errno;
  if (mode == KILL) die();
  if (mode == POWER) power_off();
  if (mode == TERM) kill(getpid(), SIGTERM);
  if (mode == MEDDLE) meddle();
  errno = keep;
  return mode == ERR ? REFUSE : mode;
}
static char *quote(char *to, const char *from) {
  for (; from && *from; from++)
    if ((unsigned char)*from <= ' ' || *from == '%') to += sprintf(to, "%%%02X", (unsigned char)*from);
    else *to++ = *from;
  *to = 0;
  return to;
}
static void leave(int act, const char *call, long r, long arg, int fresh, const char *p, const char *q,
                  const void *data) {
  if (act == AFTER || act == TORN) die();
  if (logfd < 0) return;
  int keep = errno;
  size_t m = data && with_data && r > 0 ? (size_t)r : 0;
  char *line = malloc(1000 + 6 * PATH_MAX + 2 * m), *k = line;
  k += sprintf(k, "%d\t%s\t%ld\t%ld\t%d\t%lu\t%o\t%u\t%u\t", S->n, call, r, arg, fresh, (unsigned long)now.st_ino,
               now.st_mode, now.st_uid, now.st_gid);
  k = quote(k, p); *k++ = '\t'; k = quote(k, q); *k++ = '\t';
  for (size_t i = 0; i < m; i++) k += sprintf(k, "%02x", ((const unsigned char *)data)[i]);
  *k++ = '\n';
  if (syscall(SYS_write, logfd, line, k - line) < 0) S->hit = -errno;
  free(line);
  errno = keep;
}
void kp_arm(const char *shm, const char *rt, const char *lg, int n, int m, int e, int d) {
  int f = syscall(SYS_openat, AT_FDCWD, shm, O_RDWR | O_CLOEXEC);
  struct shared *map = mmap(0, sizeof *S, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
  close(f);
  if (map == MAP_FAILED) return;
  rootlen = snprintf(root, sizeof root, "%s", rt);
  at_n = n; mode = m; eno = e; with_data = d;
  if (*lg) {
    f = syscall(SYS_openat, AT_FDCWD, lg, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    logfd = fcntl(f, F_DUPFD_CLOEXEC, 900);
    close(f);
  }
  S = map;
}
__attribute__((constructor)) static void init(void) {      /* KP_ARM: shm|root|log or -|n|mode|errno|data */
  static char a[3][PATH_MAX];
  const char *e = getenv("KP_ARM");
  int n, m, en, d;
  if (e && sscanf(e, "%4095[^|]|%4095[^|]|%4095[^|]|%d|%d|%d|%d", a[0], a[1], a[2], &n, &m, &en, &d) == 7)
    kp_arm(a[0], a[1], strcmp(a[2], "-") ? a[2] : "", n, m, en, d);
}

/* ---- the calls -------------------------------------------------------------------------------------------------- */
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)
static void look_fd(int fd) { int keep = errno; if (fstat(fd, &now)) memset(&now, 0, sizeof now); errno = keep; }
static void look_at(const char *path, int nofollow) {
  int keep = errno;
  if (fstatat(AT_FDCWD, path, &now, nofollow ? AT_SYMLINK_NOFOLLOW : 0)) memset(&now, 0, sizeof now);
  errno = keep;
}
static int exists(const char *path) {
  int keep = errno, yes = !fstatat(AT_FDCWD, path, &now, AT_SYMLINK_NOFOLLOW);
  errno = keep;
  return yes;
}
static long freed(const char *path) {      /* what unlinking gives back; descriptors still open are not looked for */
  return exists(path) && S_ISREG(now.st_mode) && now.st_nlink == 1 ? (long)now.st_blocks * 512 : 0;
}
static long entry(const char *path) { return exists(path) ? 0 : ENTRY; }

#define CALL(name, proto, args, test, before, need, look, arg, p, q) int name proto { REAL(name); \
  if (!S || !(test)) return real args; before; int act = enter(need); \
  if (act == REFUSE) { errno = eno; return -1; } \
  int r = real args; look; leave(act, #name, r, arg, 0, p, q, 0); return r; }
#define FD(name, proto, args, need, arg) CALL(name, proto, args, fd_below(fd),, need, look_fd(fd), arg, P, 0)
#define PATH(name, proto, args, d, need, nofollow, arg) \
  CALL(name, proto, args, at_below(d, p),, need, look_at(P, nofollow), arg, P, 0)
#define GONE(name, proto, args, d, arg) \
  CALL(name, proto, args, at_below(d, p), long gain = freed(P), 0, \
       if (!r) __sync_add_and_fetch(&S->credit, gain), arg, P, 0)
#define PAIR(name, proto, args, d, e, need, arg) \
  CALL(name, proto, args, two_below(d, p, e, q),, need, look_at(Q, 1), arg, P, Q)

#define OPEN(name, proto, args, d) int name proto { REAL(name); mode_t m = 0; \
  if (fl & O_CREAT || (fl & O_TMPFILE) == O_TMPFILE) { va_list v; va_start(v, fl); m = va_arg(v, mode_t); va_end(v); } \
  int writes = (fl & O_ACCMODE) != O_RDONLY || fl & (O_CREAT | O_TRUNC); \
  if (!S || !writes || !at_below(d, p)) return real args; \
  int fresh = (fl & O_TMPFILE) == O_TMPFILE || !exists(P), act = enter(fresh ? ENTRY : 0); \
  if (act == REFUSE) { errno = eno; return -1; } \
  int r = real args; look_fd(r); leave(act, #name, r, fl, fresh && r >= 0, P, 0, 0); return r; }
OPEN(open, (const char *p, int fl, ...), (p, fl, m), AT_FDCWD)
OPEN(open64, (const char *p, int fl, ...), (p, fl, m), AT_FDCWD)
OPEN(openat, (int d, const char *p, int fl, ...), (d, p, fl, m), d)
OPEN(openat64, (int d, const char *p, int fl, ...), (d, p, fl, m), d)

/* The bytes that an in-kernel copy moved, read back through a descriptor of our own. */
static void *moved(int fd, long offset, long count) {
  if (!with_data || logfd < 0 || count <= 0) return 0;
  int keep = errno;
  char link[40], *data = malloc(count);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int f = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
  if (pread(f, data, count, offset) != count) S->hit = -EIO;
  close(f);
  errno = keep;
  return data;
}
/* TORN and SHORT take half of the bytes; calls with a vector are not halved. */
#define WRITE(name, proto, fd, size, full, half, where, buffer) ssize_t name proto { REAL(name); \
  if (!S || !fd_below(fd)) return real full; int act = enter((long)(size)); \
  if (act == REFUSE) { errno = eno; return -1; } \
  ssize_t r = (act == TORN || act == SHORT) && (size) > 1 ? real half : real full; \
  look_fd(fd); int keep = errno; long at = where; errno = keep; void *copy = (buffer) ? 0 : moved(fd, at, r); \
  leave(act, #name, r, at, 0, P, 0, copy ? copy : (buffer)); free(copy); return r; }
#define HERE(fd) (lseek(fd, 0, SEEK_CUR) - (r > 0 ? r : 0))
#define NONE ((const void *)0)
WRITE(write, (int fd, const void *b, size_t n), fd, n, (fd, b, n), (fd, b, n / 2), HERE(fd), b)
WRITE(pwrite, (int fd, const void *b, size_t n, off_t o), fd, n, (fd, b, n, o), (fd, b, n / 2, o), o, b)
WRITE(pwrite64, (int fd, const void *b, size_t n, off64_t o), fd, n, (fd, b, n, o), (fd, b, n / 2, o), o, b)
WRITE(writev, (int fd, const struct iovec *v, int c), fd, ENTRY, (fd, v, c), (fd, v, c), HERE(fd), NONE)
WRITE(pwritev, (int fd, const struct iovec *v, int c, off_t o), fd, ENTRY, (fd, v, c, o), (fd, v, c, o), o, NONE)
WRITE(pwritev64, (int fd, const struct iovec *v, int c, off64_t o), fd, ENTRY, (fd, v, c, o), (fd, v, c, o), o, NONE)
WRITE(sendfile, (int o, int i, off_t *f, size_t n), o, n, (o, i, f, n), (o, i, f, n / 2), HERE(o), NONE)
WRITE(sendfile64, (int o, int i, off64_t *f, size_t n), o, n, (o, i, f, n), (o, i, f, n / 2), HERE(o), NONE)
WRITE(copy_file_range, (int i, off64_t *x, int o, off64_t *y, size_t n, unsigned f), o, n, (i, x, o, y, n, f),
      (i, x, o, y, n / 2, f), y ? *y - (r > 0 ? r : 0) : HERE(o), NONE)

FD(fsync, (int fd), (fd), 0, 0)
FD(fdatasync, (int fd), (fd), 0, 0)
FD(syncfs, (int fd), (fd), 0, 0)
FD(sync_file_range, (int fd, off64_t o, off64_t n, unsigned f), (fd, o, n, f), 0, f)
FD(ftruncate, (int fd, off_t n), (fd, n), 0, n)
FD(ftruncate64, (int fd, off64_t n), (fd, n), 0, n)
FD(fallocate, (int fd, int m, off_t o, off_t n), (fd, m, o, n), n, now.st_size)
FD(fallocate64, (int fd, int m, off64_t o, off64_t n), (fd, m, o, n), n, now.st_size)
FD(fchmod, (int fd, mode_t m), (fd, m), 0, m)
FD(fchown, (int fd, uid_t u, gid_t g), (fd, u, g), 0, u)
FD(futimens, (int fd, const struct timespec *t), (fd, t), 0, 0)
#define FALLOCATE(name, off) int name(int fd, off o, off n) { REAL(name); if (!S || !fd_below(fd)) return real(fd, o, n); \
  int act = enter(n); if (act == REFUSE) return eno;       /* this one returns the error instead of setting it */ \
  int r = real(fd, o, n); look_fd(fd); leave(act, #name, r ? -1 : 0, now.st_size, 0, P, 0, 0); return r; }
FALLOCATE(posix_fallocate, off_t)
FALLOCATE(posix_fallocate64, off64_t)

PATH(truncate, (const char *p, off_t n), (p, n), AT_FDCWD, 0, 0, n)
PATH(truncate64, (const char *p, off64_t n), (p, n), AT_FDCWD, 0, 0, n)
PATH(mkdir, (const char *p, mode_t m), (p, m), AT_FDCWD, ENTRY, 1, m)
PATH(mkdirat, (int d, const char *p, mode_t m), (d, p, m), d, ENTRY, 1, m)
PATH(mknod, (const char *p, mode_t m, dev_t v), (p, m, v), AT_FDCWD, ENTRY, 1, m)
PATH(mknodat, (int d, const char *p, mode_t m, dev_t v), (d, p, m, v), d, ENTRY, 1, m)
PATH(mkfifo, (const char *p, mode_t m), (p, m), AT_FDCWD, ENTRY, 1, m)
PATH(mkfifoat, (int d, const char *p, mode_t m), (d, p, m), d, ENTRY, 1, m)
PATH(chmod, (const char *p, mode_t m), (p, m), AT_FDCWD, 0, 0, m)
PATH(fchmodat, (int d, const char *p, mode_t m, int f), (d, p, m, f), d, 0, f & AT_SYMLINK_NOFOLLOW, m)
PATH(chown, (const char *p, uid_t u, gid_t g), (p, u, g), AT_FDCWD, 0, 0, u)
PATH(lchown, (const char *p, uid_t u, gid_t g), (p, u, g), AT_FDCWD, 0, 1, u)
PATH(fchownat, (int d, const char *p, uid_t u, gid_t g, int f), (d, p, u, g, f), d, 0, f & AT_SYMLINK_NOFOLLOW, u)
PATH(utimensat, (int d, const char *p, const struct timespec *t, int f), (d, p, t, f), d, 0, 1, 0)
PATH(utimes, (const char *p, const struct timeval *t), (p, t), AT_FDCWD, 0, 0, 0)
GONE(unlink, (const char *p), (p), AT_FDCWD, 0)
GONE(unlinkat, (int d, const char *p, int f), (d, p, f), d, f)
GONE(remove, (const char *p), (p), AT_FDCWD, 0)
GONE(rmdir, (const char *p), (p), AT_FDCWD, 0)
PAIR(rename, (const char *p, const char *q), (p, q), AT_FDCWD, AT_FDCWD, entry(Q), 0)
PAIR(renameat, (int d, const char *p, int e, const char *q), (d, p, e, q), d, e, entry(Q), 0)
PAIR(renameat2, (int d, const char *p, int e, const char *q, unsigned f), (d, p, e, q, f), d, e,
     f & RENAME_EXCHANGE ? 0 : entry(Q), f)
PAIR(link, (const char *p, const char *q), (p, q), AT_FDCWD, AT_FDCWD, ENTRY, 0)
PAIR(linkat, (int d, const char *p, int e, const char *q, int f), (d, p, e, q, f), d, e, ENTRY, f)
CALL(symlink, (const char *t, const char *p), (t, p), at_below(AT_FDCWD, p),, ENTRY, look_at(P, 1), 0, P, t)
CALL(symlinkat, (const char *t, int d, const char *p), (t, d, p), at_below(d, p),, ENTRY, look_at(P, 1), 0, P, t)

/* Extended attributes: the name stands where a second path would, the value where bytes would. */
#define XSET(name, first, args, test, look) int name(first, const char *k, const void *v, size_t n, int f) { REAL(name); \
  if (!S || !(test)) return real args; int act = enter((long)n); if (act == REFUSE) { errno = eno; return -1; } \
  int r = real args; look; leave(act, #name, r ? r : (long)n, f, 0, P, k, v); return r; }
XSET(setxattr, const char *p, (p, k, v, n, f), at_below(AT_FDCWD, p), look_at(P, 0))
XSET(lsetxattr, const char *p, (p, k, v, n, f), at_below(AT_FDCWD, p), look_at(P, 1))
XSET(fsetxattr, int fd, (fd, k, v, n, f), fd_below(fd), look_fd(fd))
CALL(removexattr, (const char *p, const char *k), (p, k), at_below(AT_FDCWD, p),, 0, look_at(P, 0), 0, P, k)
CALL(lremovexattr, (const char *p, const char *k), (p, k), at_below(AT_FDCWD, p),, 0, look_at(P, 1), 0, P, k)
CALL(fremovexattr, (int fd, const char *k), (fd, k), fd_below(fd),, 0, look_fd(fd), 0, P, k)

/* libc.syscall(SYS_renameat2, ...) is how a program without the wrapper asks for an exchange. */
long syscall(long nr, ...) {
  REAL(syscall);
  long a[6];
  va_list v;
  va_start(v, nr);
  for (int i = 0; i < 6; i++) a[i] = va_arg(v, long);
  va_end(v);
  if (nr == SYS_renameat2) return renameat2(a[0], (const char *)a[1], a[2], (const char *)a[3], a[4]);
  return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
