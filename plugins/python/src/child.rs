//! The script's process: its start and end, and pipes that are read and written side by side, so that neither side
//! waits for the other and a call that does not return is noticed.

use crate::frame::{Frame, Inbox};
use ldalign_sdk::{Error, Host, Level};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{self, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How often a stop is looked for while the script is at work.
const LOOKS: Duration = Duration::from_millis(100);
/// Time that the process has to end by itself.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of a line that is logged, and of what a message cites.
const LINE: usize = 2000;

/// A running process.
pub struct Child {
    process: process::Child,
    host: Host,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    inbox: Inbox,
    /// A line of stderr that has no end yet, and the end of what came before.
    line: Vec<u8>,
    said: String,
}

/// Why no frame came.
pub enum Fault {
    /// The process has ended.
    Ended(String),
    /// Neither answer nor question for this long.
    Quiet(Duration),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Fault {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

impl Child {
    /// Starts the command in a process group of its own: a Ctrl-C is the host's to hear.
    pub fn start(mut command: Command, host: Host) -> io::Result<Self> {
        let mut process =
            command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let missing = "a pipe was asked for";
        let stdin = process.stdin.take().expect(missing);
        let (stdout, stderr) = (process.stdout.take().expect(missing), process.stderr.take().expect(missing));
        for pipe in [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()] {
            do_not_block(pipe)?;
        }
        let (stdin, stderr, inbox) = (Some(stdin), Some(stderr), Inbox::default());
        Ok(Self { process, host, stdin, stdout, stderr, inbox, line: Vec::new(), said: String::new() })
    }

    /// Sends bytes and waits for a frame, for no longer than `limit` without one.
    pub fn exchange(&mut self, bytes: &[u8], limit: Option<Duration>) -> Result<Frame, Fault> {
        let (mut rest, mut quiet) = (bytes, Duration::ZERO);
        loop {
            if rest.is_empty()
                && let Some(frame) = self.inbox.pop()?
            {
                self.log();
                return Ok(frame);
            }
            let stdin = self.stdin.as_ref().filter(|_| !rest.is_empty());
            let mut pipes = [
                watch(stdin.map(AsRawFd::as_raw_fd), libc::POLLOUT),
                watch(Some(self.stdout.as_raw_fd()), libc::POLLIN),
                watch(self.stderr.as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN),
            ];
            // SAFETY: `pipes` is an array of that many valid structs; a descriptor of -1 is passed over.
            let ready = unsafe { libc::poll(pipes.as_mut_ptr(), pipes.len() as _, LOOKS.as_millis() as i32) };
            if ready <= 0 {
                quiet += LOOKS;
                if self.host.cancelled() {
                    return Err(Error::cancelled().into());
                }
                match limit {
                    Some(limit) if quiet >= limit => return Err(Fault::Quiet(limit)),
                    _ => continue,
                }
            }
            let [write, read, say] = pipes.map(|pipe| pipe.revents != 0);
            if say {
                self.log();
            }
            if write && let Some(stdin) = &mut self.stdin {
                match stdin.write(rest) {
                    Ok(n) => rest = &rest[n..],
                    Err(e) if later(&e) => {}
                    // It reads no more: how it ended is seen below.
                    Err(_) => rest = &[],
                }
            }
            if read {
                let mut buffer = [0; 1 << 16];
                match self.stdout.read(&mut buffer) {
                    Ok(0) => return Err(Fault::Ended(self.how_it_ended())),
                    Ok(n) => self.inbox.push(&buffer[..n]),
                    Err(e) if later(&e) => {}
                    Err(e) => return Err(Error::failed(format!("its stdout cannot be read: {e}")).into()),
                }
            }
        }
    }

    /// Hands what there is on stderr to the host's log, line by line.
    fn log(&mut self) {
        let mut buffer = [0; 1 << 12];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut buffer) {
                Ok(0) => self.stderr = None,
                Ok(n) => self.line.extend_from_slice(&buffer[..n]),
                Err(e) if later(&e) => break,
                Err(_) => self.stderr = None,
            }
            while let Some(end) =
                self.line.iter().position(|b| *b == b'\n').or((self.line.len() > LINE).then_some(LINE))
            {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                self.tell(&line);
            }
        }
    }

    fn tell(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        self.host.log(Level::Info, line.trim_end());
        self.said += &line;
        let from = self.said.len().saturating_sub(LINE);
        self.said.drain(..self.said.ceil_char_boundary(from));
    }

    /// In words that follow its name.
    fn how_it_ended(&mut self) -> String {
        let ended = self.end();
        let said: Vec<&str> = self.said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = if said.is_empty() { String::new() } else { format!("; it said: {}", said.join(" / ")) };
        let how = match ended.map(|status| (status.code(), status.signal())) {
            Some((_, Some(libc::SIGSEGV))) => "touched memory it does not own (SIGSEGV)".into(),
            Some((_, Some(libc::SIGABRT))) => "aborted (SIGABRT)".into(),
            Some((_, Some(libc::SIGKILL))) => "was killed (SIGKILL), as where memory runs out".into(),
            Some((_, Some(signal))) => format!("died of signal {signal}"),
            Some((Some(code), _)) => format!("ended with status {code}"),
            _ => "closed its stdout".into(),
        };
        format!("{how}{said}")
    }

    /// Ends the process and those that it started, once: by closing its stdin, and after a moment by force.
    fn end(&mut self) -> Option<ExitStatus> {
        self.stdin.take()?;
        let begin = Instant::now();
        let mut ended = None;
        while ended.is_none() && begin.elapsed() < GRACE {
            ended = self.process.try_wait().ok().flatten();
            if ended.is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // SAFETY: signals the group that was made for this process, which ended just now if at all.
        unsafe { libc::kill(-(self.process.id() as i32), libc::SIGKILL) };
        // Already gone is as good as killed.
        let _ = self.process.wait();
        self.log();
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.tell(&line);
        }
        ended
    }

    /// Ends the process at once.
    pub fn kill(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        self.end();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// A pipe to look at; none is passed over.
fn watch(pipe: Option<RawFd>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: pipe.unwrap_or(-1), events, revents: 0 }
}

/// Whether there is nothing to read, or no room to write, yet.
fn later(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn do_not_block(pipe: RawFd) -> io::Result<()> {
    // SAFETY: asks for the flags of an open descriptor, and sets them with one more.
    let set = unsafe {
        let flags = libc::fcntl(pipe, libc::F_GETFL);
        libc::fcntl(pipe, libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
