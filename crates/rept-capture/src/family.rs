//! Children of the program, each recorded by a thread of its own into a directory of its own.

use crate::error::Error;
use crate::recorder::{RecordOptions, Summary, record_child};
use crate::sys::{self, Parked};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

/// A child that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// What was recorded of it is here.
    pub directory: PathBuf,
    /// What that is, or in one sentence why it is not.
    pub result: Result<Summary, String>,
}

/// How the children of a process are recorded, and those that are.
#[derive(Debug)]
pub(crate) struct Family {
    options: RecordOptions,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    pid: i32,
    directory: PathBuf,
    thread: JoinHandle<Result<Option<Summary>, Error>>,
}

impl Family {
    /// Of the process that is recorded with these options.
    pub(crate) fn new(options: &RecordOptions) -> Family {
        Family {
            options: options.clone(),
            members: Vec::new(),
        }
    }

    /// Records a child, and lets it run on: see [`record_child`].
    pub(crate) fn follow(&mut self, child: &Parked, shares_memory: bool) {
        let number = self.members.len() + 1;
        let directory = self.options.output.join(format!("child.{number}"));
        let options = RecordOptions {
            output: directory.clone(),
            from: None,
            ..self.options.clone()
        };
        let (taken, is_taken) = mpsc::channel();
        let its = child.clone();
        let record = move || record_child(&options, &its, shares_memory, &taken);
        match thread::Builder::new().spawn(record) {
            Ok(thread) => self.members.push(Member {
                pid: child.pid,
                directory,
                thread,
            }),
            // It goes on alone; when it cannot be had, it is gone.
            Err(_) => {
                if child.take().is_ok() {
                    sys::detach(child.pid, 0);
                }
            }
        }
        // Whatever the thread does, it lets go of its end.
        let _ = is_taken.recv();
    }

    /// Waits until all have ended.
    pub(crate) fn join(self) -> Vec<Child> {
        let members = self.members.into_iter();
        let children = members.filter_map(|member| {
            let result = match member.thread.join() {
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(summary))) => Ok(summary),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("its recorder panicked".to_owned()),
            };
            Some(Child {
                pid: member.pid,
                directory: member.directory,
                result,
            })
        });
        children.collect()
    }
}
