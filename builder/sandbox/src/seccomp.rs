//! The system call filter of a step: what Docker's default profile refuses. Unaware of steps and roots.
//!
//! It is a list of what is refused, written by number for the machine's own calls and, on x86-64, for 32-bit programs
//! too. Refused means `EPERM`, as for a process without the capability; `clone3`, whose flags a filter cannot read, and
//! calls of a foreign ABI are `ENOSYS`, so that C libraries fall back to `clone`. `no_new_privs` stays off (setuid
//! programs work), therefore the filter is installed while the process still may.

use libc::sock_filter;
use rustix::io::Errno;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in `struct seccomp_data`; arguments are 64 bits wide, and their low half comes first.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
const OFFSET_ARGUMENT_0: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;
#[cfg(target_endian = "big")]
compile_error!("the offsets of seccomp arguments are those of little-endian machines");

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Flags of `clone` that make namespaces; without `CLONE_NEWTIME`, which `clone` cannot take.
const NAMESPACES: u32 = 0x7e02_0000;
/// `personality` values that change nothing of interest: `PER_LINUX`, `PER_LINUX32`, `UNAME26`, both, and a query.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];
const AF_VSOCK: u32 = 40;

/// A call of the machine's own ABI that is handed to a supervisor.
#[derive(Clone, Debug)]
pub(crate) struct Notified {
    pub(crate) number: i64,
    pub(crate) when: When,
}

/// Which of its invocations are.
#[derive(Clone, Debug)]
pub(crate) enum When {
    /// All of them.
    Always,
    /// Those that have any of these bits in the argument with this position, counted from 0.
    AnyBit(u32, u32),
    /// Those that have this value in the argument with this position.
    Is(u32, u32),
    /// Those that have this value or a higher one in one of these arguments, but for the highest, which as an id means none.
    IdFrom(Vec<u32>, u32),
}

/// The machine's own ABI.
struct Abi {
    architecture: u32,
    refused: &'static [i64],
    clone: i64,
    clone3: i64,
    personality: i64,
    /// `None` where sockets are made through one multiplexed call whose arguments a filter cannot read.
    socket: Option<i64>,
    /// Numbers from here on belong to another ABI that shares the architecture (x32).
    foreign_from: Option<u32>,
}

/// Refused calls that have one number on all machines (those since Linux 5.1).
macro_rules! refused_everywhere {
    ($($number:expr),* $(,)?) => { &[
        425, 426, 427, // io_uring
        428, 429, 430, 431, 432, 433, 442, // the mount API
        438, // pidfd_getfd
        443, // quotactl_fd
        457, 458, // statmount, listmount
        467, // open_tree_attr
        $($number),*
    ] };
}

#[cfg(target_arch = "x86_64")]
const ABIS: [Abi; 2] = [
    Abi {
        architecture: 0xc000_003e,
        refused: refused_everywhere![
            libc::SYS_acct,
            libc::SYS_add_key,
            libc::SYS_bpf,
            libc::SYS_clock_adjtime,
            libc::SYS_clock_settime,
            174,
            libc::SYS_delete_module,
            libc::SYS_fanotify_init,
            libc::SYS_finit_module,
            177,
            libc::SYS_get_mempolicy,
            libc::SYS_init_module,
            libc::SYS_ioperm,
            libc::SYS_iopl,
            libc::SYS_kcmp,
            libc::SYS_kexec_file_load,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
            libc::SYS_lookup_dcookie,
            libc::SYS_mbind,
            libc::SYS_migrate_pages,
            libc::SYS_mount,
            libc::SYS_move_pages,
            libc::SYS_nfsservctl,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_pivot_root,
            178,
            libc::SYS_quotactl,
            libc::SYS_reboot,
            libc::SYS_request_key,
            libc::SYS_set_mempolicy,
            libc::SYS_setdomainname,
            libc::SYS_sethostname,
            libc::SYS_setns,
            libc::SYS_settimeofday,
            libc::SYS_swapoff,
            libc::SYS_swapon,
            libc::SYS_sysfs,
            libc::SYS_syslog,
            libc::SYS__sysctl,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_uselib,
            libc::SYS_userfaultfd,
            libc::SYS_ustat,
            libc::SYS_vhangup,
        ],
        clone: libc::SYS_clone,
        clone3: libc::SYS_clone3,
        personality: libc::SYS_personality,
        socket: Some(libc::SYS_socket),
        foreign_from: Some(0x4000_0000),
    },
    Abi {
        architecture: 0x4000_0003,
        refused: refused_everywhere![
            21, 22, 25, 51, 52, 62, 74, 79, 86, 87, 88, 101, 103, 110, 111, 113, 115, 121, 127, 128, 129,
            130, 131, 135, 149, 166, 167, 169, 217, 253, 264, 274, 275, 276, 283, 286, 287, 288, 294, 310,
            317, 336, 338, 342, 343, 346, 349, 350, 357, 374, 404, 405,
        ],
        clone: 120,
        clone3: 435,
        personality: 136,
        socket: Some(359),
        foreign_from: None,
    },
];

#[cfg(target_arch = "aarch64")]
const ABIS: [Abi; 1] = [Abi {
    architecture: 0xc000_00b7,
    refused: refused_everywhere![
        libc::SYS_acct,
        libc::SYS_add_key,
        libc::SYS_bpf,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_settime,
        libc::SYS_delete_module,
        libc::SYS_fanotify_init,
        libc::SYS_finit_module,
        libc::SYS_get_mempolicy,
        libc::SYS_init_module,
        libc::SYS_kcmp,
        libc::SYS_kexec_file_load,
        libc::SYS_kexec_load,
        libc::SYS_keyctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_mbind,
        libc::SYS_migrate_pages,
        libc::SYS_mount,
        libc::SYS_move_pages,
        libc::SYS_nfsservctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_pivot_root,
        libc::SYS_quotactl,
        libc::SYS_reboot,
        libc::SYS_request_key,
        libc::SYS_set_mempolicy,
        libc::SYS_setdomainname,
        libc::SYS_sethostname,
        libc::SYS_setns,
        libc::SYS_settimeofday,
        libc::SYS_swapoff,
        libc::SYS_swapon,
        libc::SYS_syslog,
        libc::SYS_umount2,
        libc::SYS_unshare,
        libc::SYS_userfaultfd,
        libc::SYS_vhangup,
    ],
    clone: libc::SYS_clone,
    clone3: libc::SYS_clone3,
    personality: libc::SYS_personality,
    socket: Some(libc::SYS_socket),
    foreign_from: None,
}];

/// Returns the filter; calls of the machine's own ABI in `notified` are handed to a supervisor.
pub(crate) fn filter(notified: &[Notified]) -> Vec<sock_filter> {
    let mut program = Vec::with_capacity(512);
    for (index, abi) in ABIS.iter().enumerate() {
        let block = abi_block(abi, if index == 0 { notified } else { &[] });
        program.push(statement(LOAD, OFFSET_ARCHITECTURE));
        program.push(jump(JUMP_EQUAL, abi.architecture, 1, 0));
        // A conditional jump reaches 255 instructions, an unconditional one any distance.
        program.push(statement((libc::BPF_JMP | libc::BPF_JA) as u16, block.len() as u32));
        program.extend(block);
    }
    program.push(statement(RETURN, UNKNOWN));
    program
}

/// A call and the instructions that decide about it; they end in a return.
type Rule = (u32, Vec<sock_filter>);

fn abi_block(abi: &Abi, notified: &[Notified]) -> Vec<sock_filter> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut add = |number: i64, code: Vec<sock_filter>| rules.push((number as u32, code));
    abi.refused.iter().for_each(|number| add(*number, vec![statement(RETURN, REFUSE)]));
    for call in notified {
        let code = match &call.when {
            When::Always => vec![statement(RETURN, NOTIFY)],
            When::Is(position, value) => on_argument(*position, JUMP_EQUAL, &[*value], NOTIFY, ALLOW),
            When::AnyBit(position, bits) => on_argument(*position, JUMP_ANY_BIT, &[*bits], NOTIFY, ALLOW),
            When::IdFrom(positions, first) => on_ids(positions, *first),
        };
        add(call.number, code);
    }
    add(abi.clone3, vec![statement(RETURN, UNKNOWN)]);
    add(abi.clone, on_argument(0, JUMP_ANY_BIT, &[NAMESPACES], REFUSE, ALLOW));
    add(abi.personality, on_argument(0, JUMP_EQUAL, &PERSONALITIES, ALLOW, REFUSE));
    if let Some(socket) = abi.socket {
        add(socket, on_argument(0, JUMP_EQUAL, &[AF_VSOCK], REFUSE, ALLOW));
    }
    rules.sort_by_key(|(number, _)| *number);
    let mut block = vec![statement(LOAD, OFFSET_NUMBER)];
    if let Some(first) = abi.foreign_from {
        block.extend([jump(JUMP_GREATER_EQUAL, first, 0, 1), statement(RETURN, UNKNOWN)]);
    }
    block.extend(search(&rules));
    block
}

/// Decides by halving: the kernel runs the filter once for every call there is when it is installed, and a long chain of
/// comparisons would be most of what a step costs.
fn search(rules: &[Rule]) -> Vec<sock_filter> {
    const CHAIN: usize = 3;
    if rules.len() > CHAIN {
        let (low, high) = rules.split_at(rules.len() / 2);
        let low = search(low);
        // A conditional jump reaches 255 instructions, an unconditional one any distance.
        let skip_low = statement((libc::BPF_JMP | libc::BPF_JA) as u16, low.len() as u32);
        return [vec![jump(JUMP_GREATER_EQUAL, high[0].0, 0, 1), skip_low], low, search(high)].concat();
    }
    let mut code = Vec::new();
    for (number, decide) in rules {
        code.push(jump(JUMP_EQUAL, *number, 0, decide.len() as u8));
        code.extend_from_slice(decide);
    }
    code.push(statement(RETURN, ALLOW));
    code
}

/// Answers by the low half of one of the call's arguments.
fn on_argument(
    position: u32,
    test: u16,
    values: &[u32],
    when_one_fits: u32,
    otherwise: u32,
) -> Vec<sock_filter> {
    let tests = values.iter().flat_map(|value| [jump(test, *value, 0, 1), statement(RETURN, when_one_fits)]);
    let mut code = vec![statement(LOAD, OFFSET_ARGUMENT_0 + position * ARGUMENT_BYTES)];
    code.extend(tests);
    code.push(statement(RETURN, otherwise));
    code
}

/// Notifies of the calls that have an id from `first` on.
fn on_ids(positions: &[u32], first: u32) -> Vec<sock_filter> {
    let test = |position: &u32| {
        [
            statement(LOAD, OFFSET_ARGUMENT_0 + position * ARGUMENT_BYTES),
            jump(JUMP_GREATER_EQUAL, first, 0, 2),
            jump(JUMP_EQUAL, u32::MAX, 1, 0),
            statement(RETURN, NOTIFY),
        ]
    };
    positions.iter().flat_map(test).chain([statement(RETURN, ALLOW)]).collect()
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Installs the filter for this process; returns the supervisor's descriptor when calls are `notified`.
pub(crate) fn install(notified: &[Notified]) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
    crate::sys::install_filter(&filter(notified), !notified.is_empty())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would.
    fn answer(architecture: u32, number: i64, argument: u32) -> u32 {
        let program = filter(&[
            Notified { number: libc::SYS_fchownat, when: When::Always },
            Notified { number: libc::SYS_openat, when: When::AnyBit(2, 0o100) },
            Notified { number: libc::SYS_prctl, when: When::Is(0, 8) },
            Notified { number: libc::SYS_setresuid, when: When::IdFrom(vec![0, 1, 2], 65537) },
        ]);
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let decide = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
            match instruction.code {
                LOAD => {
                    accumulator = match instruction.k {
                        OFFSET_NUMBER => number as u32,
                        OFFSET_ARCHITECTURE => architecture,
                        _ => argument,
                    }
                }
                JUMP_EQUAL => at += decide(accumulator == instruction.k),
                JUMP_GREATER_EQUAL => at += decide(accumulator >= instruction.k),
                JUMP_ANY_BIT => at += decide(accumulator & instruction.k != 0),
                RETURN => return instruction.k,
                _ => at += instruction.k as usize,
            }
        }
    }

    #[test]
    fn each_call_gets_its_answer() {
        let (native, compat) = (ABIS[0].architecture, ABIS[1].architecture);
        let rows = [
            (native, libc::SYS_read, 0, ALLOW),
            (native, libc::SYS_mount, 0, REFUSE),
            (native, libc::SYS_vhangup, 0, REFUSE),
            (native, libc::SYS_fchownat, 0, NOTIFY),
            (native, libc::SYS_openat, 0, ALLOW),
            (native, libc::SYS_prctl, 9, ALLOW),
            (native, libc::SYS_prctl, 8, NOTIFY),
            (native, libc::SYS_openat, 0o101, NOTIFY),
            (native, libc::SYS_setresuid, 65536, ALLOW),
            (native, libc::SYS_setresuid, 65537, NOTIFY),
            (native, libc::SYS_setresuid, u32::MAX - 1, NOTIFY),
            (native, libc::SYS_setresuid, u32::MAX, ALLOW),
            (native, libc::SYS_clone3, 0, UNKNOWN),
            (native, libc::SYS_clone, libc::SIGCHLD as u32, ALLOW),
            (native, libc::SYS_clone, libc::CLONE_NEWUSER as u32, REFUSE),
            (native, libc::SYS_clone, libc::CLONE_NEWNS as u32, REFUSE),
            (native, libc::SYS_personality, u32::MAX, ALLOW),
            (native, libc::SYS_personality, 0x0040_0000, REFUSE),
            (native, libc::SYS_socket, 1, ALLOW),
            (native, libc::SYS_socket, AF_VSOCK, REFUSE),
            (native, 0x4000_0000 + libc::SYS_mount, 0, UNKNOWN),
            (compat, 3, 0, ALLOW),
            (compat, 21, 0, REFUSE),
            (compat, 310, 0, REFUSE),
            (0xc000_00b7, 40, 0, UNKNOWN),
        ];
        for (architecture, number, argument, expected) in rows {
            assert_eq!(
                answer(architecture, number, argument),
                expected,
                "call {number} argument {argument:#x}"
            );
        }
    }
}
