package farshore

import "time"

// ReplicationPolicy says how often recovery points are made and how long they are kept. Durations are in seconds so that
// the JSON form reads alike in every language.
type ReplicationPolicy struct {
	Name                string `json:"name"`
	RPOThresholdSeconds int    `json:"rpoThresholdSeconds"` // health turns bad when the newest point is older
	RetentionHours      int    `json:"retentionHours"`
	Keep                string `json:"keep,omitempty"` // tiers of retention instead of the preset: all:2h,hourly:1d,daily:30d
	CrashEverySeconds   int    `json:"crashEverySeconds"`
	AppEverySeconds     int    `json:"appEverySeconds"` // 0: no app-consistent points
}

// DefaultPolicy is the preset a machine gets when none is named: Azure Site Recovery's own defaults, with points every
// five seconds instead of every five minutes.
func DefaultPolicy() ReplicationPolicy {
	return ReplicationPolicy{
		Name: "default", RPOThresholdSeconds: 15 * 60, RetentionHours: 24, CrashEverySeconds: 5, AppEverySeconds: 4 * 3600,
	}
}

// Replication is the failback policy in the form of a replication policy: what the nodes keep to on the way home.
func (p FailbackPolicy) Replication() ReplicationPolicy {
	return ReplicationPolicy{
		Name: "failback", RPOThresholdSeconds: p.RPOThresholdSeconds, RetentionHours: p.RetentionHours, Keep: p.Keep,
		CrashEverySeconds: p.CrashEverySeconds, AppEverySeconds: p.AppEverySeconds,
	}
}

// RPOThreshold is the age of the newest point above which the machine is unhealthy.
func (p ReplicationPolicy) RPOThreshold() time.Duration {
	return time.Duration(p.RPOThresholdSeconds) * time.Second
}
