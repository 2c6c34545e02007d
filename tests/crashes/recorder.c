/* Writes down what a process does to a SQLite database on its way to the disk.
 *
 * Preloaded under a process it stands between SQLite and the C library, for one database, its log
 * (-wal) and its journal: every write, truncation, creation and removal of these files, and every
 * sync of one of them or of their folder, goes into the record in the order in which it happened.
 * So do the notes of the process itself, which is how "this was acknowledged" has its place in it.
 * The index of the log (-shm) is left out: it is memory, and no disk keeps it.
 *
 * A record is a header (see `struct header`) and `size` bytes. The call and its record are one step
 * under a lock, so nothing is written down as synced that was written while the sync was on its way.
 *
 * RECORDED_DATABASE is the database's path, RECORD where the record goes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define NOTHING (-1)
#define FOLDER (-2)

enum { CREATED = 'c', REMOVED = 'r', WRITTEN = 'w', CUT = 't', SYNCED = 's', FOLDER_SYNCED = 'f',
       NOTED = 'n' };

struct header {
    uint8_t kind;
    uint32_t file;
    uint64_t at;
    uint32_t size;
} __attribute__((packed));

static const char *const SUFFIXES[] = {"", "-wal", "-journal"};
enum { NAMES = 3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char names[NAMES][PATH_MAX];
static char folder[PATH_MAX];
/* Which file has each of the names now, and is behind each descriptor. */
static int file_of_name[NAMES] = {NOTHING, NOTHING, NOTHING};
static int file_of_descriptor[DESCRIPTORS];
static int files;
static int record = NOTHING;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static int (*real_unlink)(const char *);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_write)(int, const void *, size_t);
static void *(*real_mmap)(void *, size_t, int, int, int, off64_t);

static void give_up(const char *what) {
    fprintf(stderr, "recorder: %s\n", what);
    abort();
}

static void *find(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        give_up(name);
    return found;
}

__attribute__((constructor)) static void begin(void) {
    real_open = find("open64");
    real_close = find("close");
    real_unlink = find("unlink");
    real_ftruncate = find("ftruncate64");
    real_fdatasync = find("fdatasync");
    real_fsync = find("fsync");
    real_pwrite = find("pwrite64");
    real_write = find("write");
    real_mmap = find("mmap64");
    for (int i = 0; i < DESCRIPTORS; i++)
        file_of_descriptor[i] = NOTHING;
    const char *database = getenv("RECORDED_DATABASE");
    const char *path = getenv("RECORD");
    if (database == NULL || path == NULL)
        give_up("RECORDED_DATABASE and RECORD must be set");
    for (int i = 0; i < NAMES; i++)
        snprintf(names[i], PATH_MAX, "%s%s", database, SUFFIXES[i]);
    snprintf(folder, PATH_MAX, "%s", database);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        give_up("RECORDED_DATABASE must be absolute");
    *slash = '\0';
    record = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record < 0)
        give_up("the record cannot be opened");
}

static void put(const void *bytes, size_t size) {
    if (real_write(record, bytes, size) != (ssize_t)size)
        give_up("the record cannot be written");
}

static void note(uint8_t kind, int file, uint64_t at, const void *bytes, size_t size) {
    struct header header = {kind, (uint32_t)file, at, (uint32_t)size};
    put(&header, sizeof header);
    if (size > 0)
        put(bytes, size);
}

static int name_of(const char *path) {
    for (int i = 0; i < NAMES; i++)
        if (strcmp(path, names[i]) == 0)
            return i;
    return NOTHING;
}

static int file_of(int descriptor) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS)
        return NOTHING;
    return file_of_descriptor[descriptor];
}

/* For the process: have `text` stand in the record, after all that has happened so far. */
void recorder_note(const char *text) {
    pthread_mutex_lock(&lock);
    note(NOTED, 0, 0, text, strlen(text));
    pthread_mutex_unlock(&lock);
}

static int opened(const char *path, int flags, mode_t mode) {
    pthread_mutex_lock(&lock);
    int name = name_of(path);
    int is_new = name != NOTHING && access(path, F_OK) != 0;
    int descriptor = real_open(path, flags, mode);
    int error = errno;
    if (descriptor >= DESCRIPTORS)
        give_up("too many descriptors");
    if (descriptor >= 0 && name != NOTHING) {
        if (is_new) {
            file_of_name[name] = files++;
            note(CREATED, file_of_name[name], (uint64_t)name, NULL, 0);
        }
        if (file_of_name[name] == NOTHING)
            give_up("a file was there before the record");
        if (flags & O_TRUNC)
            give_up("a file is cut as it is opened");
        file_of_descriptor[descriptor] = file_of_name[name];
    } else if (descriptor >= 0) {
        file_of_descriptor[descriptor] = strcmp(path, folder) == 0 ? FOLDER : NOTHING;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return descriptor;
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return opened(path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int close(int descriptor) {
    pthread_mutex_lock(&lock);
    if (descriptor >= 0 && descriptor < DESCRIPTORS)
        file_of_descriptor[descriptor] = NOTHING;
    int done = real_close(descriptor);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int done = real_unlink(path);
    int error = errno;
    int name = name_of(path);
    if (done == 0 && name != NOTHING) {
        note(REMOVED, file_of_name[name], (uint64_t)name, NULL, 0);
        file_of_name[name] = NOTHING;
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

static ssize_t written(int descriptor, const void *bytes, size_t size, off64_t at) {
    pthread_mutex_lock(&lock);
    ssize_t done = real_pwrite(descriptor, bytes, size, at);
    int error = errno;
    if (done > 0)
        note(WRITTEN, file_of(descriptor), (uint64_t)at, bytes, (size_t)done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t at) {
    if (file_of(descriptor) < 0)
        return real_pwrite(descriptor, bytes, size, at);
    return written(descriptor, bytes, size, at);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t at) {
    return pwrite64(descriptor, bytes, size, at);
}

ssize_t write(int descriptor, const void *bytes, size_t size) {
    if (file_of(descriptor) >= 0)
        give_up("a write that does not say where");
    return real_write(descriptor, bytes, size);
}

int ftruncate64(int descriptor, off64_t size) {
    if (file_of(descriptor) < 0)
        return real_ftruncate(descriptor, size);
    pthread_mutex_lock(&lock);
    int done = real_ftruncate(descriptor, size);
    int error = errno;
    if (done == 0)
        note(CUT, file_of(descriptor), (uint64_t)size, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int ftruncate(int descriptor, off_t size) { return ftruncate64(descriptor, size); }

static int synced(int descriptor, int (*sync)(int)) {
    int file = file_of(descriptor);
    if (file == NOTHING)
        return sync(descriptor);
    pthread_mutex_lock(&lock);
    int done = sync(descriptor);
    int error = errno;
    if (done == 0)
        note(file == FOLDER ? FOLDER_SYNCED : SYNCED, file == FOLDER ? 0 : file, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fdatasync(int descriptor) { return synced(descriptor, real_fdatasync); }

int fsync(int descriptor) { return synced(descriptor, real_fsync); }

static void *mapped(void *at, size_t size, int may, int flags, int descriptor, off64_t from) {
    if ((flags & MAP_SHARED) && (may & PROT_WRITE) && file_of(descriptor) >= 0)
        give_up("a file is written through memory");
    return real_mmap(at, size, may, flags, descriptor, from);
}

void *mmap64(void *at, size_t size, int may, int flags, int descriptor, off64_t from) {
    return mapped(at, size, may, flags, descriptor, from);
}

void *mmap(void *at, size_t size, int may, int flags, int descriptor, off_t from) {
    return mapped(at, size, may, flags, descriptor, from);
}
