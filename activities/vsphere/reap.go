package vsphere

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"farshore"
	"farshore/activities"
)

// Left is a disk that a run left attached to a master target's VM.
type Left struct {
	Run  farshore.RunID
	File string
}

// Reap detaches, from the VM of a master target, the disks of runs that are over: a disk that stays attached stays locked,
// and its VM cannot start. Disks that no mark speaks of are left alone. over says whether a run has ended. The files stay.
// It answers what it detached, also when it could not finish.
func (a *Adapter) Reap(ctx context.Context, vcenter, masterTarget string, over func(farshore.RunID) bool) ([]Left, error) {
	v, err := a.enter(ctx, activities.Site{Run: activities.Run{ID: "reaper"}, Home: farshore.VSphereHome{VCenter: vcenter}})
	if err != nil {
		return nil, err
	}
	target, err := v.findMasterTarget(ctx, masterTarget)
	if err != nil || target == nil {
		return nil, err
	}
	left := a.left(target, over)
	if len(left) == 0 {
		return nil, nil
	}
	files := map[string]bool{}
	for _, l := range left {
		files[l.File] = true
	}
	if err := v.giveBack(ctx, target, files); err != nil {
		return nil, err
	}
	return left, nil
}

// left lists what the marks on a VM say of runs that are over. A mark whose disk is gone counts: it is removed.
func (a *Adapter) left(target *vm, over func(farshore.RunID) bool) []Left {
	var all []Left
	for key, value := range target.extra {
		if l, ok := parseLent(value); strings.HasPrefix(key, markLent) && ok && l.vault == a.vault && over(l.run) {
			all = append(all, Left{Run: l.run, File: l.file})
		}
	}
	slices.SortFunc(all, func(x, y Left) int { return cmp.Compare(x.File, y.File) })
	return all
}
