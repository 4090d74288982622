package vsphere

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"farshore"
	"farshore/activities"
)

// Left is a disk that a run left attached to a master target's VM.
type Left struct {
	Run     farshore.RunID
	Machine farshore.MachineID
	File    string
}

// Reap detaches, from the VM of a master target, on whatever vCenter it is, the disks of runs that are over: a disk that
// stays attached stays locked, and its VM cannot start. over says whether the machine needs them no more; it is asked after
// the marks were read. Disks that no mark of this installation speaks of are left alone, and the files stay. Reap answers
// what it detached, also when it could not finish.
func (a *Adapter) Reap(ctx context.Context, masterTarget string, over func(context.Context, Left) bool) ([]Left, error) {
	var all []Left
	var errs error
	for _, name := range slices.Sorted(maps.Keys(a.links)) {
		site := activities.Site{Run: activities.Run{ID: "reaper"}, Home: farshore.VSphereHome{VCenter: name}}
		left, err := a.reap(ctx, site, masterTarget, over)
		all, errs = append(all, left...), errors.Join(errs, err)
	}
	return all, errs
}

func (a *Adapter) reap(ctx context.Context, site activities.Site, masterTarget string, over func(context.Context, Left) bool) ([]Left, error) {
	v, err := a.enter(ctx, site)
	if err != nil {
		return nil, err
	}
	target, err := v.findMasterTarget(ctx, masterTarget)
	if err != nil || target == nil {
		return nil, err
	}
	files := map[string]bool{}
	left := slices.DeleteFunc(a.left(target), func(l Left) bool { return !over(ctx, l) })
	for _, l := range left {
		files[l.File] = true
	}
	if err := v.giveBack(ctx, target, files); err != nil {
		return nil, err
	}
	return left, nil
}

// left lists what the marks on a VM say. A mark whose disk is gone counts: it is removed.
func (a *Adapter) left(target *vm) []Left {
	var all []Left
	for key, value := range target.extra {
		if l, ok := parseLent(value); strings.HasPrefix(key, markLent) && ok && l.vault == a.vault {
			all = append(all, Left{Run: l.run, Machine: l.machine, File: l.file})
		}
	}
	slices.SortFunc(all, func(x, y Left) int { return cmp.Compare(x.File, y.File) })
	return all
}
