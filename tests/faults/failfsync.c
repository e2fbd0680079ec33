/* Lets fsync and fdatasync fail with EIO while the file named by FAILFSYNC exists: a disk that loses writes.

   Loaded into the daemon by LD_PRELOAD; tests/faults/test_fsync.py compiles it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int failing(void)
{
    const char *name = getenv("FAILFSYNC");
    return name != NULL && access(name, F_OK) == 0;
}

static int sync_by(const char *function, int descriptor)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, function);
    if (failing()) {
        errno = EIO;
        return -1;
    }
    return real(descriptor);
}

int fsync(int descriptor)
{
    return sync_by("fsync", descriptor);
}

int fdatasync(int descriptor)
{
    return sync_by("fdatasync", descriptor);
}
