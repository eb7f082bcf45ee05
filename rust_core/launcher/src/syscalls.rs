//! The table of refused system calls.
//!
//! Stops: what could undo the other layers (mounting, new namespaces), reach other processes (`ptrace` and its like), load
//! code into the kernel or use its parts that break most often (`io_uring`, `bpf`, `userfaultfd`, keys), type into the
//! terminal of whoever started us (`TIOCSTI`), and sockets that no namespace holds (`AF_VSOCK`, packets). A call made as
//! another architecture, where the numbers mean something else, ends the process. Everything else is allowed: this is a
//! fence around the dangerous, not a list of the needed, so that real programs run.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use crate::order::Ground;

/// Refused whatever their arguments.
const REFUSED: &[libc::c_long] = &[
    // The tree of mounts, and other roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    467, // open_tree_attr, Linux 6.15
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // Namespaces, and processes from outside.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Wide and young parts of the kernel.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// New namespaces by `clone`.
const NAMESPACE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    0x80, // CLONE_NEWTIME
];
/// Which argument of which call is the mode of a file.
const SETS_MODE: &[(libc::c_long, u8)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (452, 2), // fchmodat2, Linux 6.6
];
const SET_USER_ID: u64 = 0o4000;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
/// Linux, "tell me", 32 bits, old release numbers; the others loosen the layout of memory.
const PERSONALITIES: &[u64] = &[0, 0xffff_ffff, 8, 0x2_0000, 0x2_0008];

/// Compiled, to be put up again and again; none where the machine takes none.
pub struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Puts this process and all it starts under the table. No-new-privileges must be set.
    pub fn restrict(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|program| apply_filter(program)).map_err(|error| error.to_string())
    }
}

/// The table of an order.
pub fn compile(ground: &Ground) -> Result<Filters, String> {
    if !ground.layers.seccomp {
        return Ok(Filters(Vec::new()));
    }
    programs(!ground.layers.namespaces).map(|programs| Filters(programs.into())).map_err(|error| error.to_string())
}

fn programs(is_alone: bool) -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let equal = |argument, length, value| Condition::new(argument, length, Is::Eq, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|number| (*number, Vec::new())).collect();

    let with_flag = |flag: &libc::c_int| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompRule::new(vec![Condition::new(0, Length::Qword, Is::MaskedEq(flag), flag)?])
    };
    rules.insert(libc::SYS_clone, NAMESPACE_FLAGS.iter().map(with_flag).collect::<Result<_, _>>()?);

    let refuse_request = |request| SeccompRule::new(vec![equal(1, Length::Dword, request)?]);
    rules.insert(libc::SYS_ioctl, [TIOCSTI, TIOCLINUX].map(refuse_request).into_iter().collect::<Result<_, _>>()?);

    let none_of = |argument, values: &[u64]| {
        let conditions = values.iter().map(|value| Condition::new(argument, Length::Dword, Is::Ne, *value));
        conditions.collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new)
    };
    rules.insert(libc::SYS_personality, vec![none_of(0, PERSONALITIES)?]);

    // A program with the user's rights for whoever starts it: of no use in here, but the file stays in the workspace.
    // (A file that is made with the bit is empty, and loses it when something is written or it grows.)
    for (number, argument) in SETS_MODE {
        let mode = Condition::new(*argument, Length::Dword, Is::MaskedEq(SET_USER_ID), SET_USER_ID)?;
        rules.insert(*number, vec![SeccompRule::new(vec![mode])?]);
    }

    // Without a network namespace every socket leads outside: the internet, and services of this machine such as docker's.
    let families: Vec<u64> = if is_alone { vec![libc::AF_NETLINK] } else { SOCKETS.to_vec() }
        .into_iter()
        .map(|family| u64::from(family.unsigned_abs()))
        .collect();
    let netlink = u64::from(libc::AF_NETLINK.unsigned_abs());
    let other_netlink =
        vec![equal(0, Length::Dword, netlink)?, Condition::new(2, Length::Dword, Is::Ne, 0 /* NETLINK_ROUTE */)?];
    rules.insert(libc::SYS_socket, vec![none_of(0, &families)?, SeccompRule::new(other_netlink)?]);

    // Its flags lie in memory, where no filter can look; the C library then takes `clone`.
    let hidden = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let compile = |rules, errno: libc::c_int| -> Result<BpfProgram, seccompiler::BackendError> {
        let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
        let action = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?.try_into()
    };
    let mut first = compile(rules, libc::EPERM)?;
    first.splice(0..0, refuse_x32());
    Ok([first, compile(hidden, libc::ENOSYS)?])
}

const SOCKETS: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// The x32 calls of x86-64 pass as its own architecture, with bit 30 set: three instructions that end them.
fn refuse_x32() -> Vec<sock_filter> {
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    let instruction = |code: libc::c_uint, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    vec![
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the number of the call
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, 0x4000_0000),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ]
}
