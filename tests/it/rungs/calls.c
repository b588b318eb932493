/* Makes a sequence of system calls that a seed decides, and prints what each of them answers: the same for root, whoever runs it
 * as root. What a user of the step may not do to files of others is left out, for it is not checked where only one id exists. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const NAMES[] = {"a", "b", "c", "d", "d/a", "d/b", "e/a", "e", "../w/a", "/w/b", "d/../c", "l", "d/l"};
static const int IDS[] = {0, 42, 1000, 1001, -1};
static uint64_t state;
/* Whether devices look like devices. */
static int knows_devices;
/* Whether the root of the step is a directory, not an overlay. */
static int is_copy;

static unsigned pick(unsigned below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33) % below;
}

#define ONE_OF(list) ((list)[pick(sizeof(list) / sizeof *(list))])

static const char *name(void) { return ONE_OF(NAMES); }

/* An id, seldom the one that is none. */
static int id(void) { return IDS[pick(9) % (pick(4) ? 4 : 5)]; }

static void say(const char *call, const char *first, const char *second, long a, long b, long result) {
    int error = errno;
    printf("%s %s %s %ld %ld = %ld %s\n", call, first, second, a, b, result, result < 0 ? strerrorname_np(error) : "");
}

static int is_root(void) { return geteuid() == 0 && setfsuid(-1) == 0; }

static void ids(void) {
    unsigned user[3], group[3], groups[16];
    syscall(SYS_getresuid, &user[0], &user[1], &user[2]);
    syscall(SYS_getresgid, &group[0], &group[1], &group[2]);
    int count = syscall(SYS_getgroups, 16, groups);
    printf("  ids %u %u %u, %u %u %u, %d %d:", user[0], user[1], user[2], group[0], group[1], group[2], setfsuid(-1), setfsgid(-1));
    for (int at = 0; at < count; at++) printf(" %u", groups[at]);
    printf("\n");
}

static void show(const char *path) {
    struct stat found;
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0)
        printf("  %s %o %u:%u %lu\n", path, found.st_mode, found.st_uid, found.st_gid, S_ISDIR(found.st_mode) ? 0 : (long)found.st_nlink);
}

/* Whether the kernel lets this user change the file's attributes: what is asked for only where it does. */
static int is_own(const char *path, int follow) {
    struct stat found;
    if (is_root()) return 1;
    return fstatat(AT_FDCWD, path, &found, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0 || (int)found.st_uid == setfsuid(-1);
}

static void make(void) {
    static const int MODES[] = {0666, 0777, 0676, 0600 | 0066, 04777};
    static const int FLAGS[] = {O_EXCL, 0, 0, O_NOFOLLOW, O_DIRECTORY, O_CLOEXEC, O_EXCL | O_NOFOLLOW, O_APPEND};
    const char *path = name(), *other = name();
    int mode = ONE_OF(MODES), flags = O_RDWR | O_CREAT | ONE_OF(FLAGS), fd = -1;
    struct stat before;
    // Never for a file that another name leads to: it is given all bits again below.
    int mask = lstat(path, &before) < 0 && pick(2) ? 0022 : 0;
    umask(mask);
    switch (pick(12)) {
    case 0: fd = syscall(SYS_open, path, flags, mode); say("open", path, "", flags, mode, fd < 0 ? -1 : fcntl(fd, F_GETFD)); break;
    case 1: fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode); say("openat", path, "", flags, mode, fd < 0 ? -1 : fcntl(fd, F_GETFL)); break;
    case 2: {
        struct open_how how = {.flags = flags, .mode = mode & 07777};
        fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
        say("openat2", path, "", flags, mode, fd < 0 ? -1 : 0);
        break;
    }
    case 3:
        umask(0);
        fd = open(pick(2) ? "." : path, O_TMPFILE | O_RDWR, mode);
        say("tmpfile", path, "", mode, 0, fd < 0 ? -1 : 0);
        if (fd >= 0) {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            say("linkat", other, "", 0, 0, linkat(AT_FDCWD, link, AT_FDCWD, other, AT_SYMLINK_FOLLOW));
        }
        break;
    case 4: case 5: say("mkdir", path, "", 0, 0, syscall(SYS_mkdir, path, 0777)); break;
    case 6: path = "e", say("mkdirat", "d/../e/", "", 0, 0, mkdirat(AT_FDCWD, "d/../e/", 0777)); break;
    case 7: case 8: say("symlink", other, path, 0, 0, symlink(pick(3) ? other : "nowhere", path)); break;
    case 9: say("mkfifo", path, "", mode, 0, mknod(path, S_IFIFO | mode, 0)); break;
    case 10: say("mknod", path, "", mode, 0, mknod(path, pick(2) ? (unsigned)mode : S_IFREG | (unsigned)mode, 0)); break;
    default: say("mkdir odd", path, "", 0, 0, mkdir(pick(2) ? "." : "", 0777)); break;
    }
    if (fd >= 0) {
        struct stat found;
        fstat(fd, &found);
        printf("  made %o %u:%u\n", found.st_mode, found.st_uid, found.st_gid);
        close(fd);
    }
    umask(0);
    show(path);
    if (mask && is_own(path, 0) && lstat(path, &(struct stat){0}) == 0) {
        struct stat found;
        lstat(path, &found);
        if (!S_ISLNK(found.st_mode)) chmod(path, 0777);
    }
}

static void give(void) {
    const char *path = name();
    int uid = id(), gid = id(), fd = -1;
    long result;
    switch (pick(13)) {
    case 0: say("chown", path, "", uid, gid, syscall(SYS_chown, path, uid, gid)); break;
    case 1: case 2: say("lchown", path, "", uid, gid, syscall(SYS_lchown, path, uid, gid)); break;
    case 3: case 4: say("fchownat", path, "", uid, gid, syscall(SYS_fchownat, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)); break;
    case 5: {
        static const int ODD[] = {1, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_NO_AUTOMOUNT};
        int flags = ONE_OF(ODD);
        say("fchownat odd", path, "", uid, flags, syscall(SYS_fchownat, AT_FDCWD, path, uid, gid, flags));
        break;
    }
    case 6: case 7: case 8: case 9: {
        int how = pick(5), flags = (how & 1 ? O_PATH | O_NOFOLLOW : O_RDONLY | O_NONBLOCK) | O_CLOEXEC;
        fd = open(path, flags);
        if (fd < 0) { say("open to give", path, "", flags, 0, -1); return; }
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (how < 2) result = syscall(SYS_fchown, fd, uid, gid);
        else if (how < 4) result = syscall(SYS_fchownat, fd, "", uid, gid, AT_EMPTY_PATH);
        else result = syscall(SYS_chown, link, uid, gid);
        say("given by descriptor", path, "", how, uid * 10000L + gid, result);
        break;
    }
    case 10: say("chown bad memory", "", "", uid, gid, syscall(SYS_chown, 8, uid, gid)); break;
    case 11: say("chown bad place", path, "", uid, gid, syscall(SYS_fchownat, 77, path, uid, gid, 0)); break;
    default: {
        char odd[64];
        snprintf(odd, sizeof odd, "%s/", path);
        say("chown", odd, "", uid, gid, chown(pick(4) ? odd : "", uid, gid));
        break;
    }
    }
    show(path);
    if (fd >= 0) {
        struct stat found;
        fstat(fd, &found);
        printf("  it %u:%u %o\n", found.st_uid, found.st_gid, found.st_mode);
        close(fd);
    }
}

static void look(void) {
    struct stat found = {0};
    struct statx more;
    const char *path = name();
    int fd = -1;
    long result;
    static const int FLAGS[] = {0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_NO_AUTOMOUNT, AT_REMOVEDIR, 4};
    int flags = ONE_OF(FLAGS);
    switch (pick(7)) {
    case 0: result = syscall(SYS_stat, path, &found); break;
    case 1: result = syscall(SYS_lstat, path, &found); break;
    case 2: result = syscall(SYS_newfstatat, AT_FDCWD, path, &found, flags); break;
    case 3:
        result = syscall(SYS_statx, AT_FDCWD, path, flags, STATX_BASIC_STATS, &more);
        if (result == 0) found.st_uid = more.stx_uid, found.st_gid = more.stx_gid, found.st_mode = more.stx_mode, found.st_rdev = makedev(more.stx_rdev_major, more.stx_rdev_minor);
        break;
    case 4: {
        char link[64];
        fd = open(path, O_PATH);
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        result = stat(link, &found);
        break;
    }
    case 5:
        fd = open(path, O_PATH | O_NOFOLLOW);
        result = syscall(SYS_newfstatat, fd, "", &found, AT_EMPTY_PATH);
        break;
    default: {
        char odd[64];
        snprintf(odd, sizeof odd, "%s/", path);
        result = stat(pick(4) ? odd : "", &found);
    }
    }
    say("look", path, "", flags, found.st_mode, result);
    if (result == 0) printf("  is %u:%u %lx\n", found.st_uid, found.st_gid, (long)found.st_rdev);
    if (fd >= 0) close(fd);
}

/* Whether a second name of a file is one to everybody: to overlays of user namespaces one of a file of an earlier step, whose
 * times say 1980, is a file of its own with an owner and mode of its own. */
static int links_well(const char *path) {
    struct stat found;
    return is_copy || lstat(path, &found) < 0 || found.st_mtime > 40 * 365 * 86400;
}

static void name_again(void) {
    const char *path = name(), *other = name();
    switch (pick(9)) {
    case 0: case 1: say("rename", path, other, 0, 0, rename(path, other)); break;
    case 2: say("exchange", path, other, 0, 0, syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, other, 2)); break;
    case 3: say("noreplace", path, other, 0, 0, syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, other, 1)); break;
    case 4: case 5: if (is_own(path, 0) && links_well(path)) say("link", path, other, 0, 0, link(path, other)); break;
    case 6: case 7: say("unlink", path, "", 0, 0, unlink(path)); break;
    default: say("rmdir", path, "", 0, 0, rmdir(path));
    }
    show(path);
    show(other);
}

static void mode(void) {
    static const int MODES[] = {0777, 04777, 04767, 0666 | 0111};
    static const int ROOT_MODES[] = {02777, 06777, 02767, 0777, 04777};
    const char *path = name();
    int mode = is_root() ? ONE_OF(ROOT_MODES) : ONE_OF(MODES);
    struct stat found;
    if (!is_own(path, 1)) return;
    // A directory stays one that everybody may enter.
    if (stat(path, &found) == 0 && S_ISDIR(found.st_mode)) mode |= 0777;
    say("chmod", path, "", mode, 0, chmod(path, mode));
    show(path);
}

static void device(void) {
    if (!knows_devices) return;
    static const char *const DEVICES[] = {"device", "d/device", "a/device", "", ".", "device/", "a"};
    const char *path = ONE_OF(DEVICES);
    if (strcmp(path, "a") == 0 && access(path, F_OK) < 0) return;
    unsigned kind = pick(2) ? S_IFCHR : S_IFBLK;
    say("mknod device", path, "", kind, 0, mknod(path, kind | 0666, makedev(1 + pick(300), pick(70000))));
    struct stat found;
    if (lstat(path, &found) == 0) printf("  device %lx\n", (long)found.st_rdev);
    show(path);
}

static void become(void) {
    int real = id(), effective = id(), saved = id();
    unsigned groups[3] = {id(), id(), id()};
    // The way that gives back what `setfsuid` took.
    setfsuid(geteuid());
    switch (pick(13)) {
    case 0: say("setuid", "", "", real, 0, syscall(SYS_setuid, real)); break;
    case 1: say("setgid", "", "", real, 0, syscall(SYS_setgid, real)); break;
    case 2: case 3: say("setreuid", "", "", real, effective, syscall(SYS_setreuid, real, effective)); break;
    case 4: say("setregid", "", "", real, effective, syscall(SYS_setregid, real, effective)); break;
    case 5: case 6: say("setresuid", "", "", real * 10000L + effective, saved, syscall(SYS_setresuid, real, effective, saved)); break;
    case 7: say("setresgid", "", "", real * 10000L + effective, saved, syscall(SYS_setresgid, real, effective, saved)); break;
    case 8: say("setgroups", "", "", (int)groups[0], (int)groups[1], syscall(SYS_setgroups, pick(4), groups)); break;
    case 9: say("setfsuid", "", "", real, 0, syscall(SYS_setfsuid, real)); break;
    case 10: say("setfsgid", "", "", real, 0, syscall(SYS_setfsgid, real)); break;
    case 11: say("getgroups", "", "", 0, 0, syscall(SYS_getgroups, (int)pick(5) - 2, groups)); break;
    default: {
        int value = pick(4) ? 0 : 2;
        say("keepcaps", "", "", value, 0, prctl(PR_SET_KEEPCAPS, value, 0, 0, 0));
    }
    }
    ids();
}

/* Becomes a copy of this program with set-id bits that belongs to somebody. */
static void execute(void) {
    static const int MODES[] = {0755, 04755, 02755, 06755, 02745, 06777, 0777};
    int uid = IDS[pick(4)], gid = IDS[pick(4)], mode = ONE_OF(MODES), strict = !pick(4);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!is_root()) _exit(0);
        unlink("/x");
        int from = open("/calls", O_RDONLY), to = open("/x", O_CREAT | O_WRONLY | O_EXCL, 0755);
        char buffer[65536];
        for (ssize_t count; (count = read(from, buffer, sizeof buffer)) > 0;) if (write(to, buffer, count) != count) abort();
        fchown(to, uid, gid);
        fchmod(to, mode);
        close(to);
        say("copy", "", "", uid, gid, mode);
        fflush(stdout);
        if (mode != 02745 && pick(2)) { become(); fflush(stdout); }
        // A group that files alone know is lost then, since Linux 6.16.
        if (strict) setfsgid(getegid()), prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        execl("/x", "x", "ids", NULL);
        say("execl", "", "", 0, 0, -1);
        fflush(stdout);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

static void session(unsigned calls) {
    unsigned drops = pick(3);
    for (unsigned at = 0; at < calls; at++) {
        switch (pick(16)) {
        case 0: case 1: case 2: case 3: make(); break;
        case 4: case 5: case 6: case 7: give(); break;
        case 8: case 9: look(); break;
        case 10: case 11: name_again(); break;
        case 12: mode(); break;
        case 13: device(); break;
        case 14: execute(); break;
        default: if (drops) become();
        }
    }
}

int main(int count, char **words) {
    if (count > 1 && strcmp(words[1], "ids") == 0) {
        ids();
        return 0;
    }
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    unsigned seed = count > 1 ? atoi(words[1]) : 1, sessions = count > 2 ? atoi(words[2]) : 20;
    for (int at = 3; at < count; at++) {
        knows_devices |= strcmp(words[at], "devices") == 0;
        is_copy |= strcmp(words[at], "copy") == 0;
    }
    umask(0);
    mkdir("/w", 0777);
    if (chdir("/w") < 0 || !freopen("/trace", "a", stdout)) return 1;
    for (unsigned at = 0; at < sessions; at++) {
        printf("session %u of %u\n", at, seed);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            state = seed * 1000003u + at;
            pick(2);
            session(40);
            fflush(stdout);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    for (unsigned at = 0; at < sizeof NAMES / sizeof *NAMES; at++) show(NAMES[at]);
    return 0;
}
