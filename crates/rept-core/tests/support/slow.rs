//! A recovery that takes as long as a test wants.
#![allow(dead_code, reason = "each test file uses a part")]

use crate::client::Client;
use crate::gate::Gate;
use crate::victim::{Folder, record};
use rept_core::{Cancellation, GdbOptions, RecoverOptions, Recovery, Session};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A recording whose recovery waits at a gate.
pub(crate) struct Slow {
    pub(crate) gate: Gate,
    pub(crate) cancellation: Cancellation,
    pub(crate) session: Session,
    _folder: Folder,
}

impl Slow {
    /// Of the victim, with dump and trace; `None`, said aloud, where it cannot be recorded.
    pub(crate) fn victim(name: &str) -> Option<Slow> {
        Slow::new(name, |folder| Some(record(folder)?.0), |_| true)
    }

    pub(crate) fn new(
        name: &str,
        record: impl FnOnce(&Path) -> Option<PathBuf>,
        has_dump: impl FnOnce(&Path) -> bool,
    ) -> Option<Slow> {
        let folder = Folder::new(name);
        let recording = record(&folder.0)?;
        let (gate, cancellation) = (Gate::default(), Cancellation::default());
        let waiting = gate.clone();
        let builder = Session::builder().trace(recording.join("perf.data"));
        let builder = match has_dump(&recording) {
            true => builder.dump(recording.join("core")),
            false => builder,
        };
        let builder = builder
            .progress(move |_| waiting.pass())
            .cancellation(&cancellation);
        Some(Slow {
            gate,
            cancellation,
            session: builder.open().expect("the recording opens"),
            _folder: folder,
        })
    }

    /// Serves a client that does this, and gives what the stub said at its end. The gate opens behind it.
    #[track_caller]
    pub(crate) fn serve(&self, talk: impl FnOnce(&mut Client, &Recovery)) -> Result<(), String> {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let recovery = self.session.start_recovery(&RecoverOptions::default());
        let _opened = self.gate.opens_at_last();
        std::thread::scope(|scope| {
            let stub = scope.spawn(|| {
                let input = theirs.try_clone().expect("the socket can be shared");
                let output = theirs.try_clone().expect("the socket can be shared");
                let ended = recovery.serve_gdb(input, output, GdbOptions::default());
                let _ = theirs.shutdown(std::net::Shutdown::Both);
                ended.map_err(|error| error.to_string())
            });
            let mut client = Client(ours);
            talk(&mut client, &recovery);
            drop(client);
            stub.join().expect("the stub does not panic")
        })
    }
}
