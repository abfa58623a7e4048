//! Recovery in a thread of its own, for whoever has something to show before it is done.

use super::{Cancellation, Progress, Session};
use crate::Error;
use crate::history::History;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// A history in the making: [`Session::start_recovery`]. When it is dropped, the work is asked to stop.
pub struct Recovery {
    session: Session,
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// What the working thread and those who wait for it have in common.
#[derive(Default)]
struct Shared {
    stop: Cancellation,
    done: OnceLock<Result<History, Error>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    progress: Option<Progress>,
    waiting: Vec<Box<dyn FnOnce() + Send>>,
}

impl Session {
    /// Begins to recover in a thread of its own; [`Session::recover`] is the same work. It heeds
    /// [`Builder::cancellation`](crate::Builder::cancellation) and [`Recovery::cancel`].
    pub fn start_recovery(&self, options: &rept_recover::Options) -> Recovery {
        let shared = Arc::new(Shared::default());
        let (session, of_worker, options) = (self.clone(), shared.clone(), options.clone());
        let work = move || of_worker.work(&session, &options);
        let worker = std::thread::Builder::new().name("recovery".to_owned());
        let worker = worker.spawn(work).map_err(|error| {
            shared.finish(Err(Error::failed(format!(
                "no thread can be made: {error}"
            ))));
        });
        Recovery {
            session: self.clone(),
            shared,
            worker: worker.ok(),
        }
    }
}

impl Recovery {
    /// The session that is recovered. Its dump, capture and symbols are at hand at once; for what asks for
    /// its trace, that is decoded a second time until the recovery has done so.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How far it is; `None` before the first word of it.
    pub fn progress(&self) -> Option<Progress> {
        self.shared.told().progress
    }

    /// The history, or why there is none; `None` while it is in the making.
    pub fn history(&self) -> Option<Result<&History, &Error>> {
        self.shared.done.get().map(Result::as_ref)
    }

    /// Waits for the history.
    ///
    /// # Errors
    /// When the work was asked to stop, or failed.
    pub fn wait(&self) -> Result<&History, &Error> {
        self.shared.done.wait().as_ref()
    }

    /// Waits for the history, and hands it out.
    ///
    /// # Errors
    /// As [`Recovery::wait`].
    pub fn join(mut self) -> Result<History, Error> {
        if let Some(worker) = self.worker.take() {
            // It catches its own panics.
            let _ = worker.join();
        }
        let shared = std::mem::take(&mut self.shared);
        let done = Arc::into_inner(shared).and_then(|shared| shared.done.into_inner());
        done.unwrap_or_else(|| Err(Error::cancelled()))
    }

    /// Asks the work to stop; what it has made by then is not kept.
    pub fn cancel(&self) {
        self.shared.stop.cancel();
    }

    /// Calls back once, from whatever thread: when there is a history or a reason why there is none; at
    /// once where there is already.
    pub fn when_done(&self, call: impl FnOnce() + Send + 'static) {
        let mut told = self.shared.told();
        if self.shared.done.get().is_none() {
            told.waiting.push(Box::new(call));
            return;
        }
        drop(told);
        call();
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recovery")
            .field("session", &self.session)
            .field("progress", &self.progress())
            .field("is_done", &self.history().is_some())
            .finish()
    }
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, session: &Session, options: &rept_recover::Options) {
        let told = |progress| self.told().progress = Some(progress);
        // Whoever waits must hear of it, and nobody else has a use for the panic.
        let work = AssertUnwindSafe(|| session.recover_until(options, &self.stop, &told));
        let failed = |_| {
            Err(Error::failed(
                "recovery panicked, which is a mistake of rept",
            ))
        };
        self.finish(catch_unwind(work).unwrap_or_else(failed));
    }

    fn finish(&self, done: Result<History, Error>) {
        let mut told = self.told();
        // There is one worker, which finishes once.
        let _ = self.done.set(done);
        let waiting = std::mem::take(&mut told.waiting);
        drop(told);
        waiting.into_iter().for_each(|call| call());
    }
}
