package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"farshore"
	"farshore/activities"
)

// CompareMachine has a machine's agent compare its disks with their replica, while replication goes on. What is found is its result,
// not its failure. It can be started by itself, as `temporal workflow start --type CompareMachine --input '{"machine":"web-01"}'`, or
// by a schedule.
func CompareMachine(ctx workflow.Context, r VerifyRequest) (activities.Compared, error) {
	if _, err := farshore.ParseMachineID(string(r.Machine)); err != nil {
		return activities.Compared{}, activities.Outward(err)
	}
	run := activities.NewRun(activities.CompareRun, r.Machine, workflow.GetInfo(ctx).FirstRunID)
	if r.Run != "" {
		run.ID = r.Run
	}
	describeRun(ctx, run, "the agent reads its disks; the bytes stand in the pending activity's heartbeat", farshore.RecoveryPoint{}, nil)
	out, err := activities.CompareSource.Do(ctx, activities.CompareIn{Run: run})
	if err != nil {
		return activities.Compared{}, activities.Outward(err)
	}
	describeRun(ctx, run, comparedLine(out), out.Healed, differences(out))
	return out, nil
}

// comparedLine is what a comparison has shown, in one line.
func comparedLine(c activities.Compared) string {
	line := fmt.Sprintf("of %d MiB %d are equal to the replica at `%s`, %d were written meanwhile, %d nobody needs", c.Total>>20, c.Equal>>20, c.At, c.Changed>>20, c.Unspecified>>20)
	if n := c.Found(); n > 0 {
		return fmt.Sprintf("%d PLACES DIFFER THOUGH NOBODY WROTE THEM: %s", n, line)
	}
	return "no difference: " + line
}

func differences(c activities.Compared) (lines []string) {
	for _, why := range c.NotCompared {
		lines = append(lines, "not compared: "+why)
	}
	for _, d := range c.Differences[:min(len(c.Differences), shownFindings)] {
		lines = append(lines, fmt.Sprintf("disk %s, %d bytes from byte %d on", d.Disk, d.Bytes, d.Offset))
	}
	if c.Found() > 0 {
		lines = append(lines, fmt.Sprintf("points of generation %d in front of the one named here are not to be trusted for these ranges", c.At.Generation))
	}
	return lines
}
