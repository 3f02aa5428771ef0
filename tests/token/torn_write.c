/*
 * Copyright (c) 2026 Keyferry contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

/*
 * For LD_PRELOAD: end the process in the middle of what SoftHSM writes into the files of a token.
 *
 * TORN_LOG   a file that gets a byte for each write to an object's file
 * TORN_AT    before the write of this number, the process is killed
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void count(void)
{
    static int writes;
    const char *log = getenv("TORN_LOG"), *at = getenv("TORN_AT");
    int file = log ? open(log, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    writes++;
    if (file >= 0) {
        if (write(file, ".", 1) != 1)
            perror("torn_write");
        close(file);
    }
    if (at && writes == atoi(at))
        raise(SIGKILL);
}

static bool is_object(int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return strstr(path, ".object");
}

/* SoftHSM writes an object anew in each transaction, and begins with this. */
int ftruncate(int file, off_t length)
{
    int (*real)(int, off_t) = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
    if (is_object(file))
        count();
    return real(file, length);
}
