/* The text after `mount -o`. */
#include "mount-helper/options.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/limits.h"

Test(options, known_ones_become_flags_and_the_last_of_two_wins)
{
    static const struct {
        const char *text;
        unsigned long flags;
    } cases[] = {
        {"", 0},
        {",", 0},
        {"ro", MS_RDONLY},
        {"ro,rw", 0},
        {"rw,ro", MS_RDONLY},
        {"nosuid,nodev,noexec", MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"noexec,exec", 0},
        {"sync,dirsync", MS_SYNCHRONOUS | MS_DIRSYNC},
        {"relatime,noatime", MS_NOATIME},
        {"noatime,relatime", MS_RELATIME},
        {"strictatime", MS_STRICTATIME},
        {"nodiratime,lazytime", MS_NODIRATIME | MS_LAZYTIME},
        {"remount,ro", MS_REMOUNT | MS_RDONLY},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct mount_options o = {0};
        char error[256] = "";
        cr_expect_eq(options_parse(cases[i].text, false, &o, error, sizeof(error)), 0, "%s: %s",
                     cases[i].text, error);
        cr_expect_eq(o.flags, cases[i].flags, "%s", cases[i].text);
    }
}

Test(options, words_for_fstab_are_ignored)
{
    struct mount_options o = {0};
    char error[256] = "";
    cr_assert_eq(
        options_parse("_netdev,nofail,noauto,auto,user,users,user=eve,defaults,allow_other,"
                      "x-systemd.automount,x-gvfs-hide,comment=hi,rw,user_id=0,group_id=0",
                      false, &o, error, sizeof(error)),
        0, "%s", error);
    cr_assert_eq(o.flags, 0);
    cr_assert_eq(o.timeo_ns, 0);
    cr_assert(!o.timeo_given);
}

Test(options, timeo_is_seconds_with_decimals)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t ns;
    } cases[] = {
        {"timeo=0", 0, 0},
        {"timeo=30", 0, 30 * NS_PER_S},
        {"timeo=0.5", 0, NS_PER_S / 2},
        {"timeo=1.000000001", 0, NS_PER_S + 1},
        {"timeo=2.", 0, 2 * NS_PER_S},
        {"timeo=31536000", 0, UINT64_C(31536000) * NS_PER_S},
        {"timeo=31536001", -EINVAL, 0},
        {"timeo=99999999999999999999999999", -EINVAL, 0},
        {"timeo=", -EINVAL, 0},
        {"timeo=-1", -EINVAL, 0},
        {"timeo=.5", -EINVAL, 0},
        {"timeo=5s", -EINVAL, 0},
        {"timeo=0x10", -EINVAL, 0},
        {"timeo=inf", -EINVAL, 0},
        {"timeo=1.0000000001", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct mount_options o = {0};
        char error[256] = "";
        cr_expect_eq(options_parse(cases[i].text, false, &o, error, sizeof(error)), cases[i].rc,
                     "%s", cases[i].text);
        cr_expect_eq(o.timeo_ns, cases[i].ns, "%s", cases[i].text);
        if (cases[i].rc < 0)
            cr_expect(strstr(error, cases[i].text), "%s does not name %s", error, cases[i].text);
    }
}

Test(options, an_unknown_one_is_an_error_that_names_it)
{
    static const char *const cases[] = {"frobnicate", "ROX",   "timeo", "ro=1",
                                        "allow_othe", "xattr", "x"};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct mount_options o = {0};
        char text[128], error[256] = "";
        snprintf(text, sizeof(text), "ro,%s,nosuid", cases[i]);
        cr_expect_eq(options_parse(text, false, &o, error, sizeof(error)), -EINVAL, "%s", text);
        char quoted[64];
        snprintf(quoted, sizeof(quoted), "'%s'", cases[i]);
        cr_expect(strstr(error, quoted), "%s does not name %s", error, cases[i]);
    }
}

Test(options, sloppy_takes_unknown_ones_but_no_bad_timeo)
{
    struct mount_options o = {0};
    char error[256] = "";
    cr_assert_eq(options_parse("frobnicate,ro", true, &o, error, sizeof(error)), 0);
    cr_assert_eq(o.flags, MS_RDONLY);
    cr_assert_eq(options_parse("timeo=soon", true, &o, error, sizeof(error)), -EINVAL);
}

Test(options, a_second_list_adds_to_the_first)
{
    struct mount_options o = {0};
    char error[256] = "";
    cr_assert_eq(options_parse("ro,timeo=3", false, &o, error, sizeof(error)), 0);
    cr_assert_eq(options_parse("nosuid", false, &o, error, sizeof(error)), 0);
    cr_assert_eq(o.flags, MS_RDONLY | MS_NOSUID);
    cr_assert_eq(o.timeo_ns, 3 * NS_PER_S);
    cr_assert(o.timeo_given);
}
