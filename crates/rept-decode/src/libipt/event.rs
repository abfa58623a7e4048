//! libipt's events as ours.

use ::libipt::event::{
    AsyncBranch, AsyncDisabled, AsyncPaging, AsyncVmcs, Cbr, Disabled, Enabled, Event, ExecMode,
    ExecModeType, Exstop, Mnt, Mwait, Overflow, Paging, Ptwrite, Pwre, Pwrx, Stop, Tsx, Vmcs,
};
use rept_trace::{Address, EventKind};

/// `None` for what restates the state, as in a PSB+, and for kinds that the crate does not know.
pub(super) fn kind(event: Event) -> Option<EventKind> {
    if event.status_update() {
        return None;
    }
    moves(event)
        .or_else(|| state(event))
        .or_else(|| power(event))
}

/// An address that may be suppressed.
fn shown(event: Event, ip: u64) -> Option<Address> {
    (!event.ip_suppressed()).then_some(Address(ip))
}

/// Events that move execution. Asking by type: the crate panics on kinds it does not know.
fn moves(event: Event) -> Option<EventKind> {
    if let Ok(enabled) = Enabled::try_from(event) {
        let ip = Address(enabled.ip());
        return Some(EventKind::Enabled { ip });
    }
    if let Ok(disabled) = Disabled::try_from(event) {
        let ip = shown(event, disabled.ip());
        return Some(EventKind::Disabled { ip });
    }
    if let Ok(disabled) = AsyncDisabled::try_from(event) {
        return Some(EventKind::AsyncDisabled {
            at: Address(disabled.at()),
            ip: shown(event, disabled.ip()),
        });
    }
    if let Ok(branch) = AsyncBranch::try_from(event) {
        return Some(EventKind::AsyncBranch {
            from: Address(branch.from()),
            to: Address(branch.to()),
        });
    }
    let overflow = Overflow::try_from(event).ok()?;
    let ip = shown(event, overflow.ip());
    Some(EventKind::Overflow { ip })
}

/// Modes, transactions, address spaces, operands.
fn state(event: Event) -> Option<EventKind> {
    if let Ok(mode) = ExecMode::try_from(event) {
        let bitness = match mode.mode() {
            ExecModeType::Bit16 => 16,
            ExecModeType::Bit32 => 32,
            ExecModeType::Bit64 => 64,
            ExecModeType::Unknown => return None,
        };
        return Some(EventKind::ExecMode { bitness });
    }
    if let Ok(state) = Tsx::try_from(event) {
        return Some(EventKind::Transaction {
            in_transaction: state.speculative(),
            aborted: state.aborted(),
        });
    }
    if let Ok(write) = Ptwrite::try_from(event) {
        return Some(EventKind::Ptwrite {
            ip: shown(event, write.ip()),
            payload: write.payload(),
            size: write.size(),
        });
    }
    let page_table = |cr3: u64, non_root| cr3 >> 4 | u64::from(non_root);
    if let Ok(paging) = Paging::try_from(event) {
        return Some(other("PIP", page_table(paging.cr3(), paging.non_root())));
    }
    if let Ok(paging) = AsyncPaging::try_from(event) {
        return Some(other("PIP", page_table(paging.cr3(), paging.non_root())));
    }
    if let Ok(vmcs) = Vmcs::try_from(event) {
        return Some(other("VMCS", vmcs.base()));
    }
    let vmcs = AsyncVmcs::try_from(event).ok()?;
    Some(other("VMCS", vmcs.base()))
}

/// Frequency, power states, and the rest.
fn power(event: Event) -> Option<EventKind> {
    if let Ok(cbr) = Cbr::try_from(event) {
        return Some(other("CBR", u64::from(cbr.ratio())));
    }
    if let Ok(stop) = Exstop::try_from(event) {
        return Some(bound("EXSTOP", 0, shown(event, stop.ip())));
    }
    if let Ok(wait) = Mwait::try_from(event) {
        let payload = u64::from(wait.ext()) << 32 | u64::from(wait.hints());
        return Some(bound("MWAIT", payload, shown(event, wait.ip())));
    }
    if let Ok(entry) = Pwre::try_from(event) {
        let states = u64::from(entry.state()) << 12 | u64::from(entry.sub_state()) << 8;
        return Some(other("PWRE", u64::from(entry.hw()) << 7 | states));
    }
    if let Ok(exit) = Pwrx::try_from(event) {
        let reason = u64::from(exit.interrupt())
            | u64::from(exit.store()) << 2
            | u64::from(exit.autonomous()) << 3;
        let states = u64::from(exit.last()) << 4 | u64::from(exit.deepest());
        return Some(other("PWRX", reason << 8 | states));
    }
    if let Ok(maintenance) = Mnt::try_from(event) {
        return Some(other("MNT", maintenance.payload()));
    }
    Stop::try_from(event).ok().map(|_| other("TraceStop", 0))
}

fn other(name: &'static str, payload: u64) -> EventKind {
    bound(name, payload, None)
}

fn bound(name: &'static str, payload: u64, ip: Option<Address>) -> EventKind {
    EventKind::Other { name, ip, payload }
}
