/*
 * Runs a command under ptrace and injects a fault into one of its system calls.
 *
 *   inject LOG FOLDER count                    -- COMMAND [ARG]...
 *   inject LOG FOLDER record                   -- COMMAND [ARG]...
 *   inject LOG FOLDER strike KIND N HOW VALUE  -- COMMAND [ARG]...
 *   inject LOG FOLDER habits WHAT=VALUE,...    -- COMMAND [ARG]...
 *
 * The kind `gate` is the question for signals that wait (rt_sigpending), which the command asks before what makes a
 * result count; it concerns no file. Nor does the kind `process`, of calls that start processes and connect them: those
 * of children count too.
 *
 * Only calls of the command itself count, and not those of its children. A call counts only if it concerns a file in
 * FOLDER (which is the current folder) or a pipe other than stderr. The seccomp filter stops no other kinds of calls.
 * No power is cut here. Calls that only bring data to the disk are therefore skipped, and count as successful, because
 * they would take most of the time. HOW is
 *   fail VALUE     the N-th call of KIND (from 0) returns this errno and does nothing
 *   broken VALUE   the same, and all later calls of this kind fail in this way, too
 *   short VALUE    the call's count is reduced to 1 + VALUE modulo (count - 1)
 *   before VALUE   the process gets signal VALUE before the call is made
 *   after VALUE    the process gets signal VALUE after the call was made
 * `habits` makes FOLDER behave like a file system that refuses WHAT with errno VALUE each time (see HABITS).
 * LOG gets one line for each event. `record` writes each change of a file, with the data.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "the fault injector knows only the registers of x86_64 and aarch64: add those of this machine to change_call()"
#endif

enum { NONE = -1, THREADS = 64, SECONDS = 60 };
#define OWN_FD "/proc/self/fd/"

/* Which arguments are a descriptor, paths and a count. A path has priority over a descriptor, unless it is empty. */
struct call {
    long number;
    const char *kind;
    int fd, path, path2, count;
};

static const struct call CALLS[] = {
    {SYS_read, "read", 0, NONE, NONE, 2},
    {SYS_pread64, "read", 0, NONE, NONE, 2},
    {SYS_readv, "read", 0, NONE, NONE, 2},
    {SYS_preadv, "read", 0, NONE, NONE, 2},
    {SYS_mmap, "map", 4, NONE, NONE, NONE},
    {SYS_write, "write", 0, NONE, NONE, 2},
    {SYS_pwrite64, "write", 0, NONE, NONE, 2},
    {SYS_writev, "write", 0, NONE, NONE, 2},
    {SYS_pwritev, "write", 0, NONE, NONE, 2},
    {SYS_copy_file_range, "copy", 2, NONE, NONE, 4},
    {SYS_sendfile, "copy", 0, NONE, NONE, 3},
    {SYS_splice, "copy", 2, NONE, NONE, 4},
    {SYS_fallocate, "allocate", 0, NONE, NONE, NONE},
    {SYS_ftruncate, "truncate", 0, NONE, NONE, NONE},
    {SYS_fsync, "sync", 0, NONE, NONE, NONE},
    {SYS_fdatasync, "sync", 0, NONE, NONE, NONE},
    {SYS_sync_file_range, "advise", 0, NONE, NONE, NONE},
    {SYS_fadvise64, "advise", 0, NONE, NONE, NONE},
    {SYS_fcntl, "control", 0, NONE, NONE, NONE},
    {SYS_flock, "lock", 0, NONE, NONE, NONE},
    {SYS_lseek, "seek", 0, NONE, NONE, NONE},
    {SYS_fchmod, "mode", 0, NONE, NONE, NONE},
    {SYS_fchown, "owner", 0, NONE, NONE, NONE},
    {SYS_fstat, "stat", 0, NONE, NONE, NONE},
    {SYS_statx, "stat", 0, 1, NONE, NONE},
    {SYS_newfstatat, "stat", 0, 1, NONE, NONE},
    {SYS_openat, "open", NONE, 1, NONE, NONE},
    {SYS_unlinkat, "unlink", NONE, 1, NONE, NONE},
    {SYS_renameat2, "rename", NONE, 1, 3, NONE},
    {SYS_linkat, "link", NONE, 1, 3, NONE},
    {SYS_rt_sigpending, "gate", NONE, NONE, NONE, NONE},
    {SYS_clone, "process", NONE, NONE, NONE, NONE},
    {SYS_clone3, "process", NONE, NONE, NONE, NONE},
    {SYS_pipe2, "process", NONE, NONE, NONE, NONE},
    {SYS_socketpair, "process", NONE, NONE, NONE, NONE},
    {SYS_sendmsg, "process", NONE, NONE, NONE, NONE},
    {SYS_recvmsg, "process", NONE, NONE, NONE, NONE},
    {SYS_pidfd_open, "process", NONE, NONE, NONE, NONE},
    {SYS_close, "close", 0, NONE, NONE, NONE},
#ifdef SYS_vfork
    {SYS_vfork, "process", NONE, NONE, NONE, NONE},
    {SYS_fork, "process", NONE, NONE, NONE, NONE},
#endif
#ifdef SYS_renameat
    {SYS_renameat, "rename", NONE, 1, 3, NONE},
#endif
#ifdef SYS_open
    {SYS_open, "open", NONE, 0, NONE, NONE},
    {SYS_unlink, "unlink", NONE, 0, NONE, NONE},
    {SYS_rename, "rename", NONE, 0, 1, NONE},
    {SYS_link, "link", NONE, 0, 1, NONE},
#endif
};
enum { CALL_COUNT = sizeof CALLS / sizeof CALLS[0] };

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef O_TMPFILE
#define O_TMPFILE (020000000 | O_DIRECTORY)
#endif

/* What a file system may refuse or do differently. A call is affected if the argument `flag` has all of `bits`. */
static const struct habit {
    const char *what;
    struct call call;
    int flag;
    unsigned bits;
} HABITS[] = {
    {"chmod", {SYS_fchmod, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"chmod", {SYS_fchmodat, 0, NONE, 1, NONE, NONE}, NONE, 0},
    {"chmod", {SYS_fchmodat2, 0, 0, 1, NONE, NONE}, NONE, 0},
    {"chown", {SYS_fchown, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"chown", {SYS_fchownat, 0, 0, 1, NONE, NONE}, NONE, 0},
    {"attributes", {SYS_fsetxattr, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"attributes", {SYS_fgetxattr, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"attributes", {SYS_flistxattr, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"attributes", {SYS_fremovexattr, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"flock", {SYS_flock, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"sync-folder", {SYS_fsync, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"sync-folder", {SYS_fdatasync, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"open-folder", {SYS_openat, 0, 0, 1, NONE, NONE}, NONE, 0},
    {"link", {SYS_linkat, 0, 0, 1, 3, NONE}, NONE, 0},
    {"no-replace", {SYS_renameat2, 0, NONE, 1, 3, NONE}, 4, 1},
    {"tmpfile", {SYS_openat, 0, 0, 1, NONE, NONE}, 2, O_TMPFILE},
    {"direct", {SYS_openat, 0, 0, 1, NONE, NONE}, 2, O_DIRECT},
    {"direct", {SYS_fcntl, 0, 0, NONE, NONE, NONE}, 2, O_DIRECT},
    {"lease", {SYS_fcntl, 0, 0, NONE, NONE, NONE}, 1, F_SETLEASE},
    {"holes", {SYS_lseek, 0, 0, NONE, NONE, NONE}, 2, SEEK_DATA},
    {"holes", {SYS_lseek, 0, 0, NONE, NONE, NONE}, 2, SEEK_HOLE},
    {"allocate", {SYS_fallocate, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"advise", {SYS_fadvise64, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"advise", {SYS_sync_file_range, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"copy", {SYS_copy_file_range, 0, 2, NONE, NONE, NONE}, NONE, 0},
    /* These calls are made. `close` then loses the written data. `blocks` reports VALUE as the block length. */
    {"close", {SYS_close, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"blocks", {SYS_fstatfs, 0, 0, NONE, NONE, NONE}, NONE, 0},
    {"blocks", {SYS_statfs, 0, NONE, 0, NONE, NONE}, NONE, 0},
};
enum { HABIT_COUNT = sizeof HABITS / sizeof HABITS[0] };

/* A call whose return is inspected. */
struct pending {
    pid_t tid;
    const struct call *call;
    uint64_t args[6];
    long begun;
    int signal;
    const struct habit *habit;
};

static FILE *log_file;
static const char *folder;
static enum { COUNT, RECORD, STRIKE, HABIT } mode;
static const char *struck_kind, *how;
static long struck_number, value;
static long seen[CALL_COUNT], records;
static int is_struck;
static long habits[HABIT_COUNT];
static pid_t root;
static struct pending pending[THREADS];

static _Noreturn void give_up(const char *what) {
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    exit(125);
}

__attribute__((format(printf, 1, 2))) static void record(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(log_file, format, args);
    va_end(args);
    records++;
}

/* Changes the call that `tid` is about to make. If `arg` is NONE, the call is skipped and returns `to`. Otherwise this
 * argument becomes `to`. */
static void change_call(pid_t tid, int arg, uint64_t to) {
#if defined(__x86_64__)
    struct user_regs_struct regs;
    unsigned long long *args[] = {&regs.rdi, &regs.rsi, &regs.rdx, &regs.r10, &regs.r8, &regs.r9};
    if (ptrace(PTRACE_GETREGS, tid, 0, &regs)) return;
    if (arg == NONE) {
        regs.orig_rax = -1;
        regs.rax = to;
    } else {
        *args[arg] = to;
    }
    ptrace(PTRACE_SETREGS, tid, 0, &regs);
#else
    struct user_regs_struct regs;
    struct iovec all = {&regs, sizeof regs};
    if (ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &all)) return;
    regs.regs[arg == NONE ? 0 : arg] = to;
    ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &all);
    if (arg == NONE) {
        int none = -1;
        struct iovec number = {&none, sizeof none};
        ptrace(PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &number);
    }
#endif
}

static void read_path(uint64_t address, char *path) {
    char file[64];
    snprintf(file, sizeof file, "/proc/%d/mem", root);
    int memory = open(file, O_RDONLY | O_CLOEXEC);
    if (memory < 0) give_up("reading the memory of the command");
    /* A text may be at the end of a mapping. The read is then short. */
    ssize_t len = address ? pread(memory, path, PATH_MAX - 1, (off_t)address) : 0;
    close(memory);
    path[len > 0 ? len : 0] = 0;
}

static int is_in_folder(const char *path) {
    size_t len = strlen(folder);
    return path[0] != '/' || (!strncmp(path, folder, len) && (path[len] == '/' || path[len] == 0));
}

/* The calls of habits have no kind. */
static int is_kind(const struct call *call, const char *kind) {
    return call->kind && !strcmp(call->kind, kind);
}

/* The path that the call concerns. Empty if the call concerns neither FOLDER nor a pipe of the command. */
static void find_subject(const struct call *call, const uint64_t *args, char *subject) {
    snprintf(subject, PATH_MAX, "%s", is_kind(call, "gate") || is_kind(call, "process") ? "-" : "");
    if (call->path != NONE) {
        read_path(args[call->path], subject);
        if (subject[0] && !is_in_folder(subject)) subject[0] = 0;
        if (subject[0]) return;
    }
    /* This call gives a name to a file without a name. */
    if (call->path2 != NONE) {
        read_path(args[call->path2], subject);
        if (!is_in_folder(subject)) subject[0] = 0;
        return;
    }
    if (call->fd == NONE || (int)args[call->fd] < 0 || args[call->fd] == 2) return;
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/fd/%d", root, (int)args[call->fd]);
    ssize_t len = readlink(link, subject, PATH_MAX - 1);
    subject[len > 0 ? len : 0] = 0;
    /* Closing a pipe never fails. */
    int is_pipe = !strncmp(subject, "pipe:", 5) && !is_kind(call, "close");
    if (!is_pipe && (subject[0] != '/' || !is_in_folder(subject))) subject[0] = 0;
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct pending *pending_of(pid_t tid) {
    for (int i = 0; i < THREADS; i++)
        if (pending[i].tid == tid) return &pending[i];
    return NULL;
}

/* Lets the call run, and inspects its return. */
static void watch(pid_t tid, const struct call *call, const uint64_t *args, int signal) {
    struct pending *slot = pending_of(0);
    errno = 0;
    if (!slot) give_up("too many threads");
    *slot = (struct pending){tid, call, {0}, records, signal, NULL};
    memcpy(slot->args, args, sizeof slot->args);
    ptrace(PTRACE_SYSCALL, tid, 0, 0);
}

static void strike(pid_t tid, const struct call *call, const uint64_t *args, const char *subject) {
    fprintf(log_file, "hit %s %ld %s\n", call->kind, call->number, subject);
    is_struck = 1;
    if (!strcmp(how, "fail") || !strcmp(how, "broken")) {
        change_call(tid, NONE, (uint64_t)-value);
    } else if (!strcmp(how, "short")) {
        uint64_t count = call->count == NONE ? 0 : args[call->count];
        if (count > 1) change_call(tid, call->count, 1 + (uint64_t)value % (count - 1));
    } else if (!strcmp(how, "before")) {
        kill(root, (int)value);
    } else {
        watch(tid, call, args, (int)value);
        return;
    }
    ptrace(PTRACE_CONT, tid, 0, 0);
}

/* Lets the call run. Its return is inspected or not. */
static void let_go(pid_t tid, const struct call *call, const uint64_t *args) {
    if (!strcmp(call->kind, "sync") || !strcmp(call->kind, "advise")) change_call(tid, NONE, 0);
    if (mode == RECORD && strcmp(call->kind, "gate") && strcmp(call->kind, "process"))
        watch(tid, call, args, 0);
    else
        ptrace(PTRACE_CONT, tid, 0, 0);
}

/* Whether `subject` is FOLDER, as a descriptor shows it or as a program may write it. */
static int is_the_folder(const char *subject) {
    return !strcmp(subject, folder) || !strcmp(subject, ".") || !strcmp(subject, "./");
}

static int is_open_to_write(int fd) {
    char file[64], line[256];
    unsigned flags = O_RDONLY;
    snprintf(file, sizeof file, "/proc/%d/fdinfo/%d", root, fd);
    FILE *info = fopen(file, "re");
    while (info && fgets(line, sizeof line, info))
        if (sscanf(line, "flags: %o", &flags) == 1) break;
    if (info) fclose(info);
    return (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

/* Whether the file system treats this call differently, and for which path. */
static int has_habit(const struct habit *habit, const uint64_t *args, char *subject) {
    const struct call *call = &habit->call;
    if (habit->flag != NONE) {
        uint64_t flags = args[habit->flag];
        int is_number = call->number == SYS_lseek || habit->flag == 1;
        if (is_number ? flags != habit->bits : (flags & habit->bits) != habit->bits) return 0;
        if (call->number == SYS_fcntl && habit->flag == 2 && args[1] != F_SETFL) return 0;
    }
    find_subject(call, args, subject);
    /* The path of a descriptor of a file without a name is not in FOLDER. The new name then counts. */
    if (!subject[0] && call->path2 != NONE) {
        read_path(args[call->path2], subject);
        if (!is_in_folder(subject)) subject[0] = 0;
    }
    if (!subject[0] || !strncmp(subject, "pipe:", 5)) return 0;
    if (!strcmp(habit->what, "sync-folder")) return is_the_folder(subject);
    if (!strcmp(habit->what, "open-folder"))
        return is_the_folder(subject) && !(args[2] & (O_PATH | O_TMPFILE) & ~O_DIRECTORY);
    if (!strcmp(habit->what, "close")) return is_open_to_write((int)args[0]);
    return 1;
}

static void on_habit(pid_t tid, long number, const uint64_t *args) {
    char subject[PATH_MAX];
    const struct habit *habit = HABITS;
    for (; habit < HABITS + HABIT_COUNT; habit++)
        if (habits[habit - HABITS] && habit->call.number == number && has_habit(habit, args, subject)) break;
    if (habit == HABITS + HABIT_COUNT) {
        if (number == SYS_fsync || number == SYS_fdatasync) change_call(tid, NONE, 0);
        ptrace(PTRACE_CONT, tid, 0, 0);
        return;
    }
    fprintf(log_file, "hit %s %s\n", habit->what, subject);
    if (!strcmp(habit->what, "close") || !strcmp(habit->what, "blocks")) {
        watch(tid, &habit->call, args, 0);
        pending_of(tid)->habit = habit;
    } else {
        change_call(tid, NONE, (uint64_t)-habits[habit - HABITS]);
        ptrace(PTRACE_CONT, tid, 0, 0);
    }
}

/* The call was made, and its caller gets another result. */
static void tell(pid_t tid, const struct pending *done) {
    long value = habits[done->habit - HABITS];
    if (!strcmp(done->habit->what, "close")) {
        change_call(tid, NONE, (uint64_t)-value);
        return;
    }
    char file[64];
    snprintf(file, sizeof file, "/proc/%d/mem", root);
    int memory = open(file, O_RDWR | O_CLOEXEC);
    size_t fields[] = {offsetof(struct statfs, f_bsize), offsetof(struct statfs, f_frsize)};
    for (int i = 0; i < 2; i++)
        if (pwrite(memory, &value, sizeof value, (off_t)(done->args[1] + fields[i])) != sizeof value)
            give_up("writing to the memory of the command");
    close(memory);
}

static void read_habits(char *list) {
    for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
        char *value = strchr(word, '=');
        int known = 0;
        if (value) *value++ = 0;
        for (int i = 0; i < HABIT_COUNT; i++)
            if (value && !strcmp(HABITS[i].what, word)) known = 1, habits[i] = atol(value);
        errno = EINVAL;
        if (!known) give_up(word);
    }
}

static void on_call(pid_t tid) {
    char task[64], subject[PATH_MAX];
    struct __ptrace_syscall_info info;
    const struct call *call = CALLS;
    snprintf(task, sizeof task, "/proc/%d/task/%d", root, tid);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) <= 0) return;
    while (call < CALLS + CALL_COUNT && (uint64_t)call->number != info.seccomp.nr) call++;
    const uint64_t *args = (const uint64_t *)info.seccomp.args;
    if (mode == HABIT && !access(task, F_OK)) {
        on_habit(tid, (long)info.seccomp.nr, args);
        return;
    }
    int is_own = call < CALLS + CALL_COUNT && (is_kind(call, "process") || !access(task, F_OK));
    /* What the standard library asks before it closes a file in a debug build. */
    if (is_own && call->number == SYS_fcntl && args[1] == F_GETFD) is_own = 0;
    /* The system begins a fork again that a signal has interrupted. */
    static pid_t forking;
    if (is_own && call->number == SYS_clone && forking == tid) is_own = 0;
    if (is_own) forking = call->number == SYS_clone ? tid : forking == tid ? 0 : forking;
    if (is_own) find_subject(call, args, subject);
    if (!is_own || !subject[0]) {
        ptrace(PTRACE_CONT, tid, 0, 0);
        return;
    }
    long number = 0;
    for (int i = 0; i < CALL_COUNT; i++)
        if (!strcmp(CALLS[i].kind, call->kind)) number += seen[i];
    seen[call - CALLS]++;
    int is_struck_kind = mode == STRIKE && is_kind(call, struck_kind);
    if (is_struck_kind && (number == struck_number || (is_struck && !strcmp(how, "broken"))))
        strike(tid, call, args, subject);
    else
        let_go(tid, call, args);
}

/* The data is read from the file, because it is there, whichever call wrote it. */
static void record_write(const struct pending *done, const char *file, const struct stat *meta, long len) {
    uint64_t start = done->args[3];
    if (done->call->number != SYS_pwrite64 && done->call->number != SYS_pwritev) {
        char line[128];
        snprintf(line, sizeof line, "/proc/%d/fdinfo/%d", root, (int)done->args[done->call->fd]);
        FILE *info = fopen(line, "re");
        unsigned long long position = 0;
        if (!info || fscanf(info, "pos: %llu", &position) != 1) give_up("finding where the command writes");
        fclose(info);
        start = position - (uint64_t)len;
    }
    char *data = malloc((size_t)len);
    int source = open(file, O_RDONLY | O_CLOEXEC);
    if (!data || source < 0 || pread(source, data, (size_t)len, (off_t)start) != len) give_up("reading what was written");
    close(source);
    record("write %lu %llu %ld\n", meta->st_ino, (unsigned long long)start, len);
    fwrite(data, 1, (size_t)len, log_file);
    fputc('\n', log_file);
    free(data);
}

static void record_call(const struct pending *done, long result) {
    const char *kind = done->call->kind;
    char path[PATH_MAX], path2[PATH_MAX], file[64];
    struct stat meta;
    if (done->call->path != NONE) read_path(done->args[done->call->path], path);
    if (done->call->path2 != NONE) {
        read_path(done->args[done->call->path2], path2);
        /* A file without a name is linked by its descriptor, or by the link that the system keeps to it. */
        int is_by_link = !strncmp(path, OWN_FD, strlen(OWN_FD));
        if (is_by_link || !path[0]) {
            int fd = is_by_link ? atoi(path + strlen(OWN_FD)) : (int)done->args[0];
            snprintf(file, sizeof file, "/proc/%d/fd/%d", root, fd);
            if (stat(file, &meta)) give_up("finding what was linked");
            record("name %lu %s\n", meta.st_ino, base_of(path2));
            return;
        }
        record("%s %s %s\n", kind, base_of(path), base_of(path2));
        return;
    }
    if (!strcmp(kind, "unlink")) {
        record("unlink %s\n", base_of(path));
        return;
    }
    int is_open = !strcmp(kind, "open");
    snprintf(file, sizeof file, "/proc/%d/fd/%d", root, is_open ? (int)result : (int)done->args[done->call->fd]);
    if (stat(file, &meta) || S_ISFIFO(meta.st_mode)) return;
    if (is_open) {
        uint64_t flags = done->args[done->call->path + 1];
        if ((flags & O_TMPFILE) == O_TMPFILE)
            record("nameless %lu\n", meta.st_ino);
        else if (flags & (O_CREAT | O_TRUNC))
            record("open %lu %s\n", meta.st_ino, base_of(path));
    } else if (!strcmp(kind, "write") || !strcmp(kind, "copy")) {
        if (result > 0) record_write(done, file, &meta, result);
    } else if (!strcmp(kind, "truncate") || !strcmp(kind, "allocate")) {
        /* With a mode, space is allocated without a new length. A reader sees no change. */
        record("length %lu %lld\n", meta.st_ino, (long long)meta.st_size);
    } else if (!strcmp(kind, "sync")) {
        record("sync %lu %ld\n", meta.st_ino, done->begun);
    }
}

static void on_return(pid_t tid) {
    struct pending *slot = pending_of(tid);
    struct __ptrace_syscall_info info;
    if (slot) {
        struct pending done = *slot;
        slot->tid = 0;
        if (done.habit)
            tell(tid, &done);
        else if (done.signal)
            kill(root, done.signal);
        else if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof info, &info) > 0 && !info.exit.is_error)
            record_call(&done, (long)info.exit.rval);
    }
    ptrace(PTRACE_CONT, tid, 0, 0);
}

/* ptrace starts new threads and children with a SIGSTOP. Nobody else sends a SIGSTOP here. */
static void on_stop(pid_t tid, int status) {
    if (status >> 8 == (SIGTRAP | PTRACE_EVENT_SECCOMP << 8))
        on_call(tid);
    else if (status >> 8 == (SIGTRAP | 0x80))
        on_return(tid);
    else
        ptrace(PTRACE_CONT, tid, 0, status >> 16 || WSTOPSIG(status) == SIGSTOP ? 0 : WSTOPSIG(status));
}

static void install_filter(void) {
    struct sock_filter filter[CALL_COUNT + HABIT_COUNT + 16];
    int n = 0, count = mode == HABIT ? HABIT_COUNT : CALL_COUNT;
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++) {
        unsigned char rest = (unsigned char)(count - i + 4);
        long number = mode == HABIT ? HABITS[i].call.number : CALLS[i].number;
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, rest, 0);
    }
    /* Only root may trace a process that may not be dumped. The call that forbids dumps is therefore skipped. */
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args));
    filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_DUMPABLE, 0, 1);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    struct sock_fprog program = {(unsigned short)n, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        give_up("installing the seccomp filter");
}

static void start(char **command) {
    root = fork();
    if (root < 0) give_up("fork");
    if (root == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0)) give_up("ptrace");
        raise(SIGSTOP);
        /* A background job is started with signals ignored. */
        signal(SIGHUP, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        install_filter();
        execvp(command[0], command);
        give_up(command[0]);
    }
    int status;
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE |
                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
    if (waitpid(root, &status, __WALL) != root || !WIFSTOPPED(status)) exit(125);
    if (ptrace(PTRACE_SETOPTIONS, root, 0, options)) give_up("setting the options of ptrace");
    ptrace(PTRACE_CONT, root, 0, 0);
}

int main(int argc, char **argv) {
    int at = argc <= 3 ? 4 : !strcmp(argv[3], "strike") ? 8 : !strcmp(argv[3], "habits") ? 5 : 4;
    if (argc <= at + 1 || strcmp(argv[at], "--")) {
        errno = EINVAL;
        give_up("the command line");
    }
    log_file = fopen(argv[1], "we");
    if (!log_file) give_up(argv[1]);
    folder = argv[2];
    mode = at == 8 ? STRIKE : at == 5 ? HABIT : !strcmp(argv[3], "record") ? RECORD : COUNT;
    if (mode == STRIKE) {
        struck_kind = argv[4];
        struck_number = atol(argv[5]);
        how = argv[6];
        value = atol(argv[7]);
    }
    if (mode == HABIT) read_habits(argv[4]);
    /* A command that hangs is ended: when the tracer ends, everything that it traces ends, too. */
    alarm(SECONDS);
    start(argv + at + 1);
    int status;
    pid_t tid;
    while ((tid = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status))
            on_stop(tid, status);
        else if (tid == root)
            fprintf(log_file, WIFEXITED(status) ? "end exit %d\n" : "end signal %d\n",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
    for (int i = 0; i < CALL_COUNT && mode == COUNT; i++)
        if (seen[i]) fprintf(log_file, "count %s %ld\n", CALLS[i].kind, seen[i]);
    return fclose(log_file) ? 125 : 0;
}
