//! A policy chosen by name at run time.

use core::{fmt, str::FromStr};

use super::{
    Cost, Downtime, ImprovedLiveSave, LiveSave, Policy, PoolFit, SmartStop, Verdict, View, XenMigrate,
    XenMigrate451, XenSave,
};

/// One of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the type of its name")]
pub enum AnyPolicy {
    Downtime(Downtime),
    ImprovedLiveSave(ImprovedLiveSave),
    LiveSave(LiveSave),
    PoolFit(PoolFit),
    SmartStop(SmartStop),
    XenMigrate(XenMigrate),
    XenMigrate451(XenMigrate451),
    XenSave(XenSave),
}

impl AnyPolicy {
    /// The names that [`FromStr`] knows.
    pub const NAMES: &[&str] = &[
        Downtime::NAME,
        ImprovedLiveSave::NAME,
        LiveSave::NAME,
        PoolFit::NAME,
        SmartStop::NAME,
        XenMigrate::NAME,
        XenMigrate451::NAME,
        XenSave::NAME,
    ];

    fn inner(&self) -> &dyn Policy {
        match self {
            AnyPolicy::Downtime(policy) => policy,
            AnyPolicy::ImprovedLiveSave(policy) => policy,
            AnyPolicy::LiveSave(policy) => policy,
            AnyPolicy::PoolFit(policy) => policy,
            AnyPolicy::SmartStop(policy) => policy,
            AnyPolicy::XenMigrate(policy) => policy,
            AnyPolicy::XenMigrate451(policy) => policy,
            AnyPolicy::XenSave(policy) => policy,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Policy {
        match self {
            AnyPolicy::Downtime(policy) => policy,
            AnyPolicy::ImprovedLiveSave(policy) => policy,
            AnyPolicy::LiveSave(policy) => policy,
            AnyPolicy::PoolFit(policy) => policy,
            AnyPolicy::SmartStop(policy) => policy,
            AnyPolicy::XenMigrate(policy) => policy,
            AnyPolicy::XenMigrate451(policy) => policy,
            AnyPolicy::XenSave(policy) => policy,
        }
    }
}

impl Default for AnyPolicy {
    /// [`Downtime`].
    fn default() -> Self {
        AnyPolicy::Downtime(Downtime::default())
    }
}

impl Policy for AnyPolicy {
    fn name(&self) -> &'static str {
        self.inner().name()
    }
    fn live(&self) -> bool {
        self.inner().live()
    }
    fn skip(&self, round: u32) -> bool {
        self.inner().skip(round)
    }
    fn keep(&self) -> bool {
        self.inner().keep()
    }
    fn target_us(&self) -> Option<u32> {
        self.inner().target_us()
    }
    fn is_hopeless(&self, cost: &Cost) -> Option<u64> {
        self.inner().is_hopeless(cost)
    }
    fn after_round(&mut self, view: &View<'_>) -> Verdict {
        self.inner_mut().after_round(view)
    }
    fn after_clean(&mut self, view: &View<'_>) -> Verdict {
        self.inner_mut().after_clean(view)
    }
}

/// No policy has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPolicy;

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown policy; choose one of:")?;
        AnyPolicy::NAMES.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

impl core::error::Error for UnknownPolicy {}

impl FromStr for AnyPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Ok(match name {
            Downtime::NAME => AnyPolicy::Downtime(Downtime::default()),
            ImprovedLiveSave::NAME => AnyPolicy::ImprovedLiveSave(ImprovedLiveSave::default()),
            LiveSave::NAME => AnyPolicy::LiveSave(LiveSave::default()),
            PoolFit::NAME => AnyPolicy::PoolFit(PoolFit::default()),
            SmartStop::NAME => AnyPolicy::SmartStop(SmartStop::default()),
            XenMigrate::NAME => AnyPolicy::XenMigrate(XenMigrate::default()),
            XenMigrate451::NAME => AnyPolicy::XenMigrate451(XenMigrate451::default()),
            XenSave::NAME => AnyPolicy::XenSave(XenSave),
            _ => return Err(UnknownPolicy),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_listed_name_makes_the_policy_of_that_name() {
        for name in AnyPolicy::NAMES {
            assert_eq!(name.parse::<AnyPolicy>().unwrap().name(), *name);
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "live save".parse::<AnyPolicy>().unwrap_err().to_string();
        assert!(error.starts_with("unknown policy; choose one of: downtime improved-live-save live-save "));
    }
}
