//! Steps that somebody attends: with files or a terminal of the caller's.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use kiln_sandbox::{
    CancelToken, CommandSignal, Control, ExecError, ExitStatus, MountKind, RunSpec, SignalLine, Streams,
    Terminal, User, attend,
};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::harness::Case;
use super::space::{Space, mounted, script_spec};

pub(crate) const ALL: &[Case] = &[
    ("files_of_the_caller_are_the_standard_streams_and_stay_its_own", files_of_the_caller),
    ("a_terminal_of_its_own_is_shown_on_that_of_the_caller", a_terminal),
    ("a_terminal_that_was_closed_and_is_opened_again_is_shown", a_terminal_again),
    ("a_command_gets_signals_and_ends_of_those_it_does_nothing_about", signalled),
    ("a_step_that_is_run_again_finds_what_it_had_discarded", run_again),
];

fn run(space: &Space, spec: &RunSpec, streams: &Streams) -> Result<ExitStatus, ExecError> {
    attend(spec, &space.overlay(), &CancelToken::new().unwrap(), streams).map(|exit| exit.status)
}

fn files(space: &Space) -> Streams {
    fs::write(space.path("in"), "given\n").unwrap();
    let open = |name: &str| OwnedFd::from(File::create(space.path(name)).unwrap());
    Streams::Own(Arc::new([File::open(space.path("in")).unwrap().into(), open("out"), open("err")]))
}

fn files_of_the_caller() {
    let space = Space::new();
    let mut spec = script_spec("cat; echo oh >&2; exit 42");
    spec.user = User { uid: 1, gid: 1, groups: Vec::new() };
    let streams = files(&space);
    let before = fs::metadata(space.path("out")).unwrap();
    assert_eq!(run(&space, &spec, &streams).unwrap(), ExitStatus::Code(42));
    let after = fs::metadata(space.path("out")).unwrap();
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    let read = |name: &str| fs::read_to_string(space.path(name)).unwrap();
    assert_eq!((read("out"), read("err")), ("given\n".to_owned(), "oh\n".to_owned()));
    let missing = run(&space, &RunSpec::new(["/none"]), &streams);
    assert!(matches!(missing, Err(ExecError::NotFound { .. })), "{missing:?}");
}

fn a_terminal() {
    let space = Space::new();
    let mut screen = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    tcsetwinsize(&screen, Winsize { ws_row: 7, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let line = || ioctl_tiocgptpeer(&screen, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let shown = |line: &OwnedFd| format!("{:?}", tcgetattr(line).unwrap().local_modes);
    let own = line();
    let before = shown(&own);
    let terminal = Arc::new(Terminal::new(line(), line()).unwrap());
    let script = "busybox tty; busybox stty size; test -t 1 && echo a > /dev/tty; exit 3";
    let status = run(&space, &script_spec(script), &Streams::Terminal(Arc::clone(&terminal)));
    assert_eq!(status.unwrap(), ExitStatus::Code(3));
    assert_eq!(shown(&own), before);
    // The kernel brings it to the screen in parts.
    let expected = "/dev/pts/0\r\n7 70\r\na\r\n";
    let mut bytes = vec![0; expected.len()];
    screen.read_exact(&mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
    let missing = run(&space, &RunSpec::new(["/none"]), &Streams::Terminal(terminal));
    assert!(matches!(missing, Err(ExecError::NotFound { .. })), "{missing:?}");
    assert_eq!(shown(&own), before);
}

fn a_terminal_again() {
    let space = Space::new();
    let screen = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let line = || ioctl_tiocgptpeer(&screen, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let terminal = Arc::new(Terminal::new(line(), line()).unwrap());
    // More than a terminal holds, so that nobody who reads is found out.
    let script = "exec 0<&- 1>&- 2>&-; busybox sleep 0.3; busybox seq 20000 > /dev/tty";
    let mut reader = screen.try_clone().unwrap();
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let step = scope.spawn(|| run(&space, &script_spec(script), &Streams::Terminal(terminal)));
        let mut buffer = [0; 4096];
        while !seen.ends_with(b"20000\r\n") {
            let count = reader.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(step.join().unwrap().unwrap(), ExitStatus::Code(0));
    });
    let lines: String = (1..=20000).map(|number| format!("{number}\r\n")).collect();
    assert_eq!(String::from_utf8(seen).unwrap(), lines);
}

fn signalled() {
    use CommandSignal::{Hangup, Terminate, User1};
    let rows: [(&str, &[CommandSignal], ExitStatus); 4] = [
        ("trap 'exit 7' TERM", &[Terminate], ExitStatus::Code(7)),
        ("trap '' TERM; trap 'exit 3' USR1", &[Terminate, User1], ExitStatus::Code(3)),
        (":", &[Terminate], ExitStatus::Signal(15)),
        ("trap 'exit 7' TERM", &[Hangup], ExitStatus::Signal(1)),
    ];
    for (traps, signals, expected) in rows {
        let space = Space::new();
        let (streams, cancel, line) =
            (files(&space), CancelToken::new().unwrap(), SignalLine::new().unwrap());
        let spec = script_spec(&format!("{traps}; echo > /ready; while :; do busybox sleep 0.02; done"));
        let control = Control { cancel: &cancel, signals: Some(&line) };
        let status = std::thread::scope(|scope| {
            let step = scope.spawn(|| attend(&spec, &space.overlay(), control, &streams));
            while !space.path("upper/ready").exists() {
                assert!(!step.is_finished(), "{traps}");
                std::thread::sleep(Duration::from_millis(5));
            }
            signals.iter().for_each(|signal| line.send(*signal));
            step.join().unwrap().unwrap().status
        });
        assert_eq!(status, expected, "{traps} {signals:?}");
    }
    // One that comes first waits for the command.
    let (space, cancel, line) = (Space::new(), CancelToken::new().unwrap(), SignalLine::new().unwrap());
    line.send(User1);
    let control = Control { cancel: &cancel, signals: Some(&line) };
    let early = attend(&script_spec("busybox sleep 7777"), &space.overlay(), control, &files(&space));
    assert_eq!(early.unwrap().status, ExitStatus::Signal(CommandSignal::User1.number()));
}

fn run_again() {
    let space = Space::new();
    fs::write(space.directory("source").join("a"), "old\n").unwrap();
    for (source, target, file) in [("source", "/c", "/c/a"), ("source/a", "/etc/f", "/etc/f")] {
        let scratch = space.directory(&format!("scratch-of-{}", source.replace('/', "-")));
        let discard =
            || MountKind::BindDiscard { source: space.path(source).into(), scratch: scratch.clone().into() };
        space.output(&mounted(target, discard(), &format!("echo new > {file}; echo kept > /kept")));
        let again = mounted(target, discard(), &format!("cat {file} /kept"));
        assert_eq!(run(&space, &again, &files(&space)).unwrap(), ExitStatus::Code(0));
        assert_eq!(fs::read_to_string(space.path("out")).unwrap(), "new\nkept\n", "{source}");
    }
}
