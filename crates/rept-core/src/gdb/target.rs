//! What the stub answers to each kind of packet.

use super::registers::{Number, Wire, X86_64};
use super::stub::{Plan, Stub};
use super::{description, monitor};
use crate::cursor::Direction;
use gdbstub::common::{Endianness, Pid, Signal, Tid};
use gdbstub::target::ext::auxv::{Auxv, AuxvOps};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::multithread as mt;
use gdbstub::target::ext::base::reverse_exec::{
    ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use gdbstub::target::ext::base::single_register_access::{
    SingleRegisterAccess, SingleRegisterAccessOps,
};
use gdbstub::target::ext::breakpoints::{self as bp, WatchKind};
use gdbstub::target::ext::exec_file::{ExecFile, ExecFileOps};
use gdbstub::target::ext::host_info::{HostInfo, HostInfoOps, HostInfoResponse};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::ext::process_info::{ProcessInfo, ProcessInfoOps, ProcessInfoResponse};
use gdbstub::target::ext::target_description_xml_override::{
    TargetDescriptionXmlOverride, TargetDescriptionXmlOverrideOps,
};
use gdbstub::target::{Target, TargetError, TargetResult};
use rept_trace::Address;
use std::convert::Infallible;

/// What lldb is told of the machine.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// The process as gdbstub names it in every stop; lldb believes no stop of another.
const PROCESS: Pid = Pid::MIN;
const EPERM: TargetError<Infallible> = TargetError::Errno(1);
const ESRCH: TargetError<Infallible> = TargetError::Errno(3);
const EFAULT: TargetError<Infallible> = TargetError::Errno(14);

impl Target for Stub<'_> {
    type Arch = X86_64;
    type Error = Infallible;

    fn base_ops(&mut self) -> BaseOps<'_, X86_64, Infallible> {
        BaseOps::MultiThread(self)
    }

    fn guard_rail_implicit_sw_breakpoints(&self) -> bool {
        true
    }

    fn support_breakpoints(&mut self) -> Option<bp::BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    fn support_target_description_xml_override(
        &mut self,
    ) -> Option<TargetDescriptionXmlOverrideOps<'_, Self>> {
        Some(self)
    }

    fn support_exec_file(&mut self) -> Option<ExecFileOps<'_, Self>> {
        Some(self)
    }

    fn support_host_info(&mut self) -> Option<HostInfoOps<'_, Self>> {
        Some(self)
    }

    fn support_process_info(&mut self) -> Option<ProcessInfoOps<'_, Self>> {
        Some(self)
    }

    fn support_auxv(&mut self) -> Option<AuxvOps<'_, Self>> {
        Some(self)
    }
}

impl mt::MultiThreadBase for Stub<'_> {
    fn read_registers(&mut self, registers: &mut Wire, tid: Tid) -> TargetResult<(), Self> {
        let state = self.state_of(Self::thread_of(tid)).ok_or(ESRCH)?;
        *registers = Wire::new(&state, self.options.trust);
        // lldb shows the bytes of registers that are said to be unavailable; when told that there
        // is no such packet, it asks for each register, and believes that one is unavailable.
        if self.is_lldb.get() && !registers.is_whole() {
            return Err(EFAULT);
        }
        Ok(())
    }

    fn support_single_register_access(&mut self) -> Option<SingleRegisterAccessOps<'_, Tid, Self>> {
        Some(self)
    }

    fn write_registers(&mut self, _: &Wire, _: Tid) -> TargetResult<(), Self> {
        Err(EPERM)
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8], _: Tid) -> TargetResult<usize, Self> {
        let known = self.read(Address(start), data);
        // A short answer is fine, but gdb takes an empty one for success.
        if known == 0 { Err(EFAULT) } else { Ok(known) }
    }

    fn write_addrs(&mut self, _: u64, _: &[u8], _: Tid) -> TargetResult<(), Self> {
        Err(EPERM)
    }

    fn list_active_threads(&mut self, register: &mut dyn FnMut(Tid)) -> Result<(), Infallible> {
        let threads = self.threads().into_iter();
        threads.for_each(|thread| register(Self::tid(thread)));
        Ok(())
    }

    fn support_resume(&mut self) -> Option<mt::MultiThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleRegisterAccess<Tid> for Stub<'_> {
    fn read_register(
        &mut self,
        tid: Tid,
        number: Number,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let state = self.state_of(Self::thread_of(tid)).ok_or(ESRCH)?;
        match number.read(&state, self.options.trust) {
            Some(bytes) => Ok(part(&bytes, 0, bytes.len(), buffer)),
            None if self.is_lldb.get() => Err(EFAULT),
            None => Ok(0),
        }
    }

    fn write_register(&mut self, _: Tid, _: Number, _: &[u8]) -> TargetResult<(), Self> {
        Err(EPERM)
    }
}

/// Asked for by lldb alone.
impl HostInfo for Stub<'_> {
    fn host_info(&self, write: &mut dyn FnMut(&HostInfoResponse<'_>)) -> Result<(), Infallible> {
        self.is_lldb.set(true);
        write(&HostInfoResponse::Triple(TRIPLE));
        write(&HostInfoResponse::Endianness(Endianness::Little));
        write(&HostInfoResponse::PointerSize(8));
        Ok(())
    }
}

impl ProcessInfo for Stub<'_> {
    fn process_info(
        &self,
        write: &mut dyn FnMut(&ProcessInfoResponse<'_>),
    ) -> Result<(), Infallible> {
        write(&ProcessInfoResponse::Pid(PROCESS));
        write(&ProcessInfoResponse::Triple(TRIPLE));
        write(&ProcessInfoResponse::Endianness(Endianness::Little));
        write(&ProcessInfoResponse::PointerSize(8));
        Ok(())
    }
}

impl mt::MultiThreadResume for Stub<'_> {
    fn resume(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn clear_resume_actions(&mut self) -> Result<(), Infallible> {
        self.plan = Plan::Run(Direction::Forward);
        Ok(())
    }

    fn set_resume_action_continue(&mut self, _: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<mt::MultiThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, Tid, Self>> {
        Some(self)
    }

    fn support_scheduler_locking(
        &mut self,
    ) -> Option<mt::MultiThreadSchedulerLockingOps<'_, Self>> {
        Some(self)
    }
}

impl mt::MultiThreadSingleStep for Stub<'_> {
    fn set_resume_action_step(&mut self, tid: Tid, _: Option<Signal>) -> Result<(), Infallible> {
        self.plan = Plan::Step(Self::thread_of(tid), Direction::Forward);
        Ok(())
    }
}

impl mt::MultiThreadSchedulerLocking for Stub<'_> {
    fn set_resume_action_scheduler_lock(&mut self) -> Result<(), Infallible> {
        // Threads go where the history has them; locking changes nothing about the past.
        Ok(())
    }
}

impl ReverseStep<Tid> for Stub<'_> {
    fn reverse_step(&mut self, tid: Tid) -> Result<(), Infallible> {
        self.plan = Plan::Step(Self::thread_of(tid), Direction::Backward);
        Ok(())
    }
}

impl ReverseCont<Tid> for Stub<'_> {
    fn reverse_cont(&mut self) -> Result<(), Infallible> {
        self.plan = Plan::Run(Direction::Backward);
        Ok(())
    }
}

impl bp::Breakpoints for Stub<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<bp::SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<bp::HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<bp::HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl Stub<'_> {
    fn add(&mut self, address: u64) -> bool {
        self.breakpoints.push(Address(address));
        true
    }

    fn remove(&mut self, address: u64) -> bool {
        let found = self.breakpoints.iter().position(|&stop| stop.0 == address);
        found
            .map(|index| self.breakpoints.swap_remove(index))
            .is_some()
    }
}

impl bp::SwBreakpoint for Stub<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add(address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove(address))
    }
}

impl bp::HwBreakpoint for Stub<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.add(address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.remove(address))
    }
}

impl bp::HwWatchpoint for Stub<'_> {
    fn add_hw_watchpoint(
        &mut self,
        address: u64,
        len: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        if kind != WatchKind::Write || len == 0 {
            return Ok(false);
        }
        self.watches.push((Address(address), len));
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        len: u64,
        _: WatchKind,
    ) -> TargetResult<bool, Self> {
        let found = self
            .watches
            .iter()
            .position(|&watch| watch == (Address(address), len));
        Ok(found.map(|index| self.watches.swap_remove(index)).is_some())
    }
}

impl MonitorCmd for Stub<'_> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Infallible> {
        let answer = monitor::answer(self, &String::from_utf8_lossy(command));
        out.write_raw(answer.as_bytes());
        out.write_raw(b"\n");
        Ok(())
    }
}

impl TargetDescriptionXmlOverride for Stub<'_> {
    fn target_description_xml(
        &self,
        annex: &[u8],
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        if annex != b"target.xml" {
            return Err(TargetError::NonFatal);
        }
        Ok(part(description::xml().as_bytes(), offset, length, buffer))
    }
}

impl ExecFile for Stub<'_> {
    fn get_exec_file(
        &self,
        _: Option<Pid>,
        offset: u64,
        length: usize,
        buffer: &mut [u8],
    ) -> TargetResult<usize, Self> {
        let dump = self.session.dump();
        let path = dump.and_then(|dump| {
            let module = dump.program()?;
            let local = module
                .binary()
                .map(|binary| binary.path().to_string_lossy().into_owned());
            Some(local.unwrap_or_else(|| module.path.clone()))
        });
        let path = path.ok_or(TargetError::NonFatal)?;
        Ok(part(path.as_bytes(), offset, length, buffer))
    }
}

impl Auxv for Stub<'_> {
    fn get_auxv(&self, offset: u64, length: usize, buffer: &mut [u8]) -> TargetResult<usize, Self> {
        let dump = self.session.dump();
        let entries = dump.map(|dump| dump.auxv()).unwrap_or_default();
        let with_end = entries.iter().copied().chain([(0, 0)]);
        let bytes: Vec<u8> = with_end
            .flat_map(|(kind, value)| [kind.to_le_bytes(), value.to_le_bytes()].concat())
            .collect();
        Ok(part(&bytes, offset, length, buffer))
    }
}

/// Copies the asked-for part of an object; 0 behind its end.
fn part(object: &[u8], offset: u64, length: usize, buffer: &mut [u8]) -> usize {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(object.len());
    let rest = &object[start..];
    let count = rest.len().min(length).min(buffer.len());
    buffer[..count].copy_from_slice(&rest[..count]);
    count
}
