//! Format of a script: each scene consists of comments, commands, a line of dashes, and the expected output. Owns the
//! parser and the printer. Does not own the meaning of commands (`interpreter.rs`).
//!
//! ```text
//! # A comment.
//! members 1 2 3
//! start
//! ----
//! expected output, up to a blank line
//! ```

use std::fmt;

/// A script: its scenes, and the comments after the last scene.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) scenes: Vec<Scene>,
    /// Comments that follow the last scene.
    end: Vec<String>,
}

/// A scene: commands and their expected output.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    /// Comments, blank lines and commands, exactly as written.
    head: Vec<String>,
    /// Commands with the numbers of their lines.
    pub(crate) commands: Vec<(usize, String)>,
    pub(crate) said: Vec<String>,
}

const DASHES: &str = "----";
const NOTHING: &str = "(nothing)";

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
        let mut scenes = Vec::new();
        let mut scene = Scene::default();
        let mut is_said = false;
        for (number, line) in (1..).zip(text.lines()) {
            if is_said {
                if line.is_empty() {
                    scenes.push(std::mem::take(&mut scene));
                    is_said = false;
                } else {
                    scene.said.push(line.to_owned());
                }
                continue;
            }
            if line == DASHES {
                is_said = true;
                continue;
            }
            if !line.trim().is_empty() && !line.starts_with('#') {
                scene.commands.push((number, line.to_owned()));
            }
            scene.head.push(line.to_owned());
        }
        if is_said {
            scenes.push(std::mem::take(&mut scene));
        }
        assert!(scene.commands.is_empty(), "the last commands have no line of dashes");
        Self { scenes, end: scene.head }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, scene) in self.scenes.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for line in &scene.head {
                writeln!(f, "{line}")?;
            }
            writeln!(f, "{DASHES}")?;
            if scene.said.is_empty() {
                writeln!(f, "{NOTHING}")?;
            }
            for line in &scene.said {
                writeln!(f, "{line}")?;
            }
        }
        for line in &self.end {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
