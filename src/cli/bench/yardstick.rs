//! A program to compare with, measured in the same run: two backups, a primary, a client.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::closed_loop::Figure;

/// Runs the four processes and reads the figure that the client prints.
pub(super) fn measure(program: &Path, folder: &Path, window: u32, seconds: u64) -> anyhow::Result<Figure> {
    let named = || format!("yardstick {}", program.display());
    let first = crate::cli::local_cluster::adjacent_ports(3).with_context(named)?;
    let server = |role: &str, port: u16| {
        let file = folder.join(format!("yardstick-{port}"));
        let child =
            Command::new(program).args([role, &port.to_string()]).arg(file).stderr(Stdio::null()).spawn();
        child.map(Server).with_context(named)
    };
    // The primary finds its backups at the two ports after its own.
    let _servers = [server("b", first + 1)?, server("b", first + 2)?, server("p", first)?];
    thread::sleep(START_WAIT);
    let client = ["c", &first.to_string(), &window.to_string(), &seconds.to_string()];
    let output = Command::new(program).args(client).output().with_context(named)?;
    let line = String::from_utf8_lossy(&output.stdout);
    parse(&line).with_context(|| format!("{}: cannot read {:?}", named(), line.trim()))
}

/// Reads `w=16 40000/s p50 0.40 ms p99 0.80 ms`.
fn parse(line: &str) -> Option<Figure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let per_second = words.iter().find_map(|word| word.strip_suffix("/s"))?.parse().ok()?;
    let after = |name: &str| -> Option<f64> {
        let place = words.iter().position(|word| *word == name)?;
        words.get(place + 1)?.parse().ok()
    };
    let p99_ms = after("p99")?;
    Some(Figure { per_second, p50_ms: after("p50")?, p99_ms, max_ms: p99_ms })
}

/// A process that ends with its handle.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // A process that has ended by itself cannot be killed, and is waited for all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Until the processes have prewritten their files and found each other.
const START_WAIT: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_figure_is_read_from_its_line() {
        let figure = parse("w=16     40123/s p50 0.38 ms p99 0.81 ms\n").unwrap();
        assert_eq!((figure.per_second, figure.p50_ms, figure.p99_ms), (40123.0, 0.38, 0.81));
        assert!(parse("nothing of the kind").is_none());
    }
}
