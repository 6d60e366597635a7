//! The program in a terminal: a pseudo-terminal, and an emulator that says what a person would see.

use std::num::NonZeroU16;

use pty_process::{Command, OwnedReadPty, OwnedWritePty, Size};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;

use crate::process::foreign_settings;
use crate::support::PATIENCE;

/// A terminal with a program in it.
pub struct Terminal {
    reader: OwnedReadPty,
    writer: OwnedWritePty,
    emulator: vt100::Parser,
    /// All that was written to it.
    pub raw: Vec<u8>,
    child: Child,
}

/// What is left once the program has ended.
#[derive(Debug)]
pub struct Left {
    pub code: Option<i32>,
    /// The lines that are not empty.
    pub lines: Vec<String>,
    pub raw: String,
    pub cursor_is_hidden: bool,
}

fn one(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

impl Terminal {
    /// Runs the program in a terminal of this size.
    pub fn run(rows: u16, columns: u16, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let (pty, pts) = pty_process::open().unwrap();
        pty.resize(Size::new(rows, columns)).unwrap();
        let mut command = Command::new(arguments[0]).args(&arguments[1..]).kill_on_drop(true);
        for name in foreign_settings().into_iter().chain(["CI".into(), "NO_COLOR".into()]) {
            command = command.env_remove(name);
        }
        command = command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        let child = command.spawn(pts).unwrap();
        let (reader, writer) = pty.into_split();
        let emulator = vt100::Parser::new(one(rows), one(columns), 1000);
        Self { reader, writer, emulator, raw: Vec::new(), child }
    }

    /// What a person sees now, line by line.
    pub fn lines(&self) -> Vec<String> {
        let screen = self.emulator.screen();
        let columns = screen.size().1.get();
        screen
            .rows(0, columns)
            .map(|line| line.trim_end().to_owned())
            .filter(|line| !line.is_empty())
            .collect()
    }

    /// Whether the cursor is hidden.
    pub fn hides_cursor(&self) -> bool {
        self.emulator.screen().hide_cursor()
    }

    /// How many lines have left the screen at its top.
    pub fn scrolled(&self) -> usize {
        self.emulator.screen().scrollback_len()
    }

    /// Waits until a person sees something.
    pub async fn until(&mut self, what: &str, mut sees: impl FnMut(&[String]) -> bool) {
        let looking = async {
            while !sees(&self.lines()) {
                assert!(self.read().await, "it ended before: {what}: {:#?}", self.lines());
            }
        };
        let found = tokio::time::timeout(PATIENCE, looking).await;
        assert!(found.is_ok(), "not in time: {what}: {:#?}", self.lines());
    }

    /// Takes in what was written; false once the program is gone.
    async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        // Linux tells the end of the other side by an error.
        let count = self.reader.read(&mut buffer).await.unwrap_or(0);
        self.raw.extend_from_slice(&buffer[..count]);
        self.emulator.process(&buffer[..count]);
        count > 0
    }

    /// Another size, as when a person drags the window's corner.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.writer.resize(Size::new(rows, columns)).unwrap();
        self.emulator.set_size(one(rows), one(columns));
    }

    /// Types.
    pub async fn types(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).await.unwrap();
    }

    /// Ends it without a chance to put anything back.
    pub fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Waits for the program's end.
    pub async fn ended(mut self) -> Left {
        let ending = async {
            while self.read().await {}
            self.child.wait().await.unwrap().code()
        };
        let code = tokio::time::timeout(PATIENCE, ending).await.expect("it does not end");
        Left {
            code,
            lines: self.lines(),
            raw: String::from_utf8_lossy(&self.raw).into_owned(),
            cursor_is_hidden: self.hides_cursor(),
        }
    }
}
