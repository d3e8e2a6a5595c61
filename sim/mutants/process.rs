//! Commands that end with whoever started them.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Why there is no answer from a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Somebody asked to stop.
    Stopped,
    /// Its time was used up.
    OutOfTime,
    /// It could not be started or waited for.
    Failed(String),
}

/// A command that runs, with all that it starts. It is killed when this is dropped.
pub(super) struct Running {
    pub(super) child: Child,
}

impl Running {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Result<Self, Ended> {
        // A group of its own: Cargo's compilers end with Cargo.
        let child = command.process_group(0).spawn();
        let failed = |error| Ended::Failed(format!("{}: {error}", command.get_program().display()));
        Ok(Self { child: child.map_err(failed)? })
    }

    /// Waits for its end.
    pub(super) fn wait(mut self, stop: &AtomicBool, until: Option<Instant>) -> Result<ExitStatus, Ended> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(Ended::Failed(error.to_string())),
            }
            go_on(stop, until)?;
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A group whose leader was waited for may be another's by now.
        if let Ok(None) = self.child.try_wait() {
            // It ends between the two at worst, and then there is nothing to kill.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            drop(self.child.wait());
        }
    }
}

/// Whether there is a reason to end.
pub(super) fn go_on(stop: &AtomicBool, until: Option<Instant>) -> Result<(), Ended> {
    if stop.load(Ordering::Relaxed) {
        return Err(Ended::Stopped);
    }
    if until.is_some_and(|until| Instant::now() >= until) { Err(Ended::OutOfTime) } else { Ok(()) }
}

pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::{Ended, Running};

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        let running = Running::start(command.args(["-c", script]).stdout(Stdio::piped()));
        running.unwrap_or_else(|ended| panic!("{ended:?}"))
    }

    #[test]
    fn a_command_ends_by_itself_or_in_time_or_when_asked() {
        let until = Some(Instant::now() + Duration::from_millis(100));
        assert_eq!(shell("sleep 60").wait(&AtomicBool::new(false), until), Err(Ended::OutOfTime));
        assert_eq!(shell("sleep 60").wait(&AtomicBool::new(true), None), Err(Ended::Stopped));
        let status = shell("exit 3").wait(&AtomicBool::new(false), None);
        assert_eq!(status.expect("an end").code(), Some(3));
        assert!(matches!(Running::start(&mut Command::new("no-such-program-here")), Err(Ended::Failed(_))));
    }

    #[test]
    fn what_a_command_started_ends_with_it() {
        let mut running = shell("sleep 60 & echo up; wait");
        let mut output = BufReader::new(running.child.stdout.take().expect("a pipe"));
        let mut text = String::new();
        output.read_line(&mut text).expect("a line");
        let began = Instant::now();
        drop(running);
        // The pipe ends when the last one that holds it does, and the sleeper holds it too.
        output.read_to_string(&mut text).expect("an end");
        assert_eq!(text, "up\n");
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
