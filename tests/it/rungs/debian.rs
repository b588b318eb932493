//! Debian's tools, and real builds: packages from its mirror, from PyPI and from npm.

use super::{Row, check, row};
use crate::support::{TestSpace, debian, requires};

const DEBIAN: &str = "FROM debian:bookworm\n";

const DEBIAN_ROWS: &[Row] = &[
    row(
        "users and groups made by Debian's tools",
        "RUN groupadd -g 700 grp && useradd -m -u 701 -g grp -s /bin/sh usr && useradd -r -m -d /var/lib/sys sysu \
         && usermod -aG mail usr && passwd -l usr && chage -d 1 usr && chage -d 1 sysu \
         && stat -c '%n %u %g %a' /etc/shadow* /etc/gshadow* /home/* /home/*/.??* /var/lib/sys > /s\n",
    ),
    row(
        "install, and copies of files with a group",
        "RUN install -o 5 -g 6 -m 4750 /bin/true /in && install -d -o www-data -g mail -m 2755 /dd && touch /dd/f \
         && cp -a /etc/shadow /s2 && stat -c '%a %u %g %n' /in /dd /dd/f /s2 /etc/shadow > /s\n",
    ),
    row(
        "GNU tar, and setpriv",
        "RUN mkdir /o && cd /o && touch a b && chown 1:2 a && chown 100:65534 b && chmod 4711 a && ln a h && ln -s a l \
         && chown -h 9:9 l && setpriv --reuid=1000 --regid=1000 --clear-groups sh -c 'id > /tmp/id; touch /tmp/t' \
         && tar --numeric-owner --format=posix -cf /t.tar . && mkdir /p && tar --numeric-owner -xpf /t.tar -C /p && rm /t.tar \
         && stat -c '%n %u %g %a %F' /p /p/* > /s\n",
    ),
    row(
        "runuser, su and a program that changes its ids",
        "RUN useradd -m u && chage -d 1 u && rm -f /etc/*- && runuser -u u -- sh -c 'cd; touch a; id > b; cp -a /etc/skel s; cp -p /etc/passwd .' \
         && su u -c 'touch ~/c; chmod 4755 ~/c' && perl -e 'use POSIX; POSIX::setgid(33); POSIX::setuid(33); mkdir q(/tmp/33); \
         open F,q(>),q(/tmp/33/f); print F join q( ),$<,$>,$(,$)'\n",
    ),
    row(
        "a user with a high id",
        "RUN useradd -m -u 200000 big && chage -d 1 big && rm -f /etc/*- && su big -c 'cd; touch a; id > b; chmod 4755 a' \
         && stat -c '%n %U %G %u' /home/big /home/big/* > /s\nUSER big\nRUN cd && tar -cf t a && tar -xpf t && rm t && id > c\n",
    ),
    row(
        "capabilities and other attributes of files",
        "RUN mkdir /o && cp /bin/true /o/t && cp /bin/true /o/u && perl -e '$v=pack(\"V5\",0x02000001,0x400,0,0,0); for (qw(t u)) { \
         syscall(188,$p=\"/o/$_\",$n=\"security.capability\",$v,20,0)==0 or die $! } \
         syscall(188,$p=\"/o/t\",$n=\"user.note\",$v=\"hello\",5,0)==0 or die $!'\n\
         RUN chown 5 /o/u && chown 0:7 /o && chmod 711 /o/t && cp -a /o/t /o/t2 && perl -e '$b=\"\\0\"x64; \
         $l=syscall(191,$p=\"/o/t\",$n=\"security.capability\",$b,64); open F,\">/s\"; print F $l,unpack(\"H*\",$b); \
         $l=syscall(194,$p=\"/o\",$b=\"\\0\"x99,99); print F \"$l $b\"'\n",
    ),
    row(
        "open files, unnamed files, and errors",
        "RUN mkdir /o && chown 7:8 /o && perl -e 'use Fcntl; sysopen(F,\"/o/x\",O_RDWR|O_CREAT|O_EXCL,0640); @s=stat(F); \
         print \"$s[4] $s[5]\\n\"; chown 5,6,F; @s=stat(F); print \"$s[4] $s[5]\\n\"; chown -1,9,\"/o/x\"; chown 4,-1,\"/o/x\"; \
         @s=lstat(\"/o/x\"); print \"$s[4] $s[5]\\n\"; symlink \"x\",\"/o/y\"; chown 1,1,\"/o/y\"; @s=lstat(\"/o/y\"); print \"$s[4]\\n\"; \
         @s=stat(\"/o/none\"); print 0+@s, \" $!\\n\"; chown(1,1,\"/o/none\") or print \"$!\\n\"; $)=\"3 3\"; $>=2; \
         sysopen(T,\"/tmp\",O_RDWR|020200000,0600) or die $!; @s=stat(T); print \"$s[4] $s[5]\\n\"; $>=0; \
         print 0+(lstat \"/o/x\")[4]' > /s\n",
    ),
];

/// What the language tools of [`REAL_ROWS`] need, made once. npm comes from its registry, Debian's own is four hundred packages.
const TOOLS: &str = "FROM debian:bookworm\nRUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev ccache python3-pip nodejs && rm -rf /var/lib/apt/lists/* /var/cache/apt/*\n\
    RUN node -e 'fetch(\"https://registry.npmjs.org/npm/-/npm-10.8.2.tgz\").then(r => r.arrayBuffer()) \
    .then(b => require(\"fs\").writeFileSync(\"/npm.tgz\", Buffer.from(b)))' \
    && mkdir /opt/npm && tar -xzf /npm.tgz -C /opt/npm --strip-components=1 --no-same-owner && rm /npm.tgz\n\
    ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt PYTHONDONTWRITEBYTECODE=1\n";

const REAL_ROWS: &[Row] = &[
    row(
        "packages that make users, give files away and set capabilities",
        "FROM debian:bookworm\nRUN apt-get update && apt-get install -y --no-install-recommends redis-server iputils-ping sudo \
         && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /etc/*-\n\
         RUN stat -c '%n %U %G %a' /var/lib/redis /etc/redis /etc/redis/* > /s\n\
         RUN useradd user && chage -d 1 user && rm -f /etc/*- && echo 'user ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/user\n\
         USER user\nRUN sudo sh -c 'id; touch /r; chown 5:6 /r' > /tmp/id && touch /tmp/mine && sudo -u www-data id >> /tmp/id \
         && sudo rm -rf /var/log/* /run/sudo /var/lib/sudo/*\n",
    ),
    row(
        "pip",
        "FROM tools:1\nRUN pip install --no-compile --no-cache-dir --break-system-packages six==1.16.0\n",
    ),
    row(
        "npm, as a user",
        "FROM tools:1\nRUN install -d -o www-data -g www-data /app\nUSER www-data\nWORKDIR /app\nENV HOME=/tmp/home\n\
         RUN node /opt/npm/bin/npm-cli.js install --no-audit --no-fund --no-update-notifier is-odd@3.0.1 && rm -rf /tmp/home\n",
    ),
    row(
        "C, with a cache of compiled files",
        "FROM tools:1\nRUN useradd -m builder && chage -d 1 builder && rm -f /etc/*-\nUSER builder\nWORKDIR /home/builder\n\
         RUN --mount=type=cache,target=/cc,uid=1000,gid=1000 export CCACHE_DIR=/cc; \
         for number in 1 2 3; do echo \"int f$number(void) { return $number; }\" > f$number.c; done; \
         for turn in first second; do for number in 1 2 3; do ccache gcc -c f$number.c || exit; done; done; \
         ar rcD f.a f?.o && ccache -s | grep -c Hits > hits && stat -c '%U %G' /cc f.a >> hits\n",
    ),
];

#[test]
fn debians_tools_and_real_builds_have_one_digest_on_all_rungs() {
    requires!("root", "mmdebstrap", "docker-registry", "setpriv", "newuidmap");
    let space = TestSpace::shared();
    let registry = debian::serve(&space);
    let tools = space.context("tools", &[("Dockerfile", TOOLS)]);
    let name = format!("{}/library/tools:1", registry.host());
    space.build(&tools).args(["-t", &name, "--compression", "zstd:1", "--push"]).run().success();
    let rows = DEBIAN_ROWS.iter().map(|row| (DEBIAN, row)).chain(REAL_ROWS.iter().map(|row| ("", row)));
    check(&space, &rows.collect::<Vec<_>>());
    drop(registry);
}
