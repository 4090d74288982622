package main

import (
	"strings"

	"github.com/spf13/cobra"

	"farshore"
	farshorev1 "farshore/api/gen/farshore/v1"
	"farshore/cmd/commandline"
)

func (t *tool) failbackCommand() *cobra.Command {
	return noun("failback", "Bring a machine home, commit or take it back", t.failbackStartCommand(), t.commitFailbackCommand(), t.cancelFailbackCommand())
}

func (t *tool) failbackStartCommand() *cobra.Command {
	var point string
	unplanned := false
	o := operation{verb: string(farshore.Failback), title: "Bring %s home", landed: at(farshore.FailbackCommitPending)}
	o.prepare = func(w *work) error {
		w.request.Unplanned = unplanned
		there := or(w.machine.GetVmAddress(), "no address")
		if unplanned {
			w.request.Point = point
			w.plan.add("point", "%s", w.meant(point))
			w.plan.add("LOST", "what was written after the point; the RPO is %s now", rpo(w.machine))
			w.plan.add("stopped", "the machine at the recovery site (%s), if it can be reached", there)
		} else {
			w.plan.add("stopped", "the machine at the recovery site (%s), at rest and at its very last point; nothing is lost", there)
		}
		w.plan.add("compared", "every block at home with that point, before anything is started")
		if vm := w.machine.GetWayHome().GetVm(); vm != "" {
			w.plan.add("started", "VM %s at home", vm)
		} else {
			w.plan.add("started", "by you, from its disks at home")
		}
		w.plan.add("then", "commit it, or take it back")
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use:   "start NAME",
		Short: "Stop a machine at the recovery site and start it at home",
		Example: `  farshore failback start web-01
  farshore failback start web-01 --unplanned --point latest-app --yes --note "the region is lost"`,
	})
	pointFlag(cmd, &o, &point)
	cmd.Flags().BoolVar(&unplanned, "unplanned", false, "the machine at the recovery site is lost: do not bring it to rest; --point counts")
	waitFlag(cmd, &o.wait, true, "the machine runs at home")
	return cmd
}

func (t *tool) commitFailbackCommand() *cobra.Command {
	o := operation{verb: string(farshore.CommitFailback), title: "Commit the failback of %s", landed: at(farshore.Primary)}
	o.prepare = func(w *work) error {
		w.plan.add("stays", "the machine at home; it replicates from there, and sends what differs")
		w.plan.add("removed", "the machine at the recovery site, %s from now", seconds(w.machine.GetFailbackPolicy().GetGraceHours()*3600))
		w.plan.add("ends", "the way back by farshore failback cancel")
		w.plan.add("recovery points", "all stay")
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "commit NAME", Short: "Declare that a machine stays at home", Example: "  farshore failback commit web-01",
	})
	waitFlag(cmd, &o.wait, true, "it is committed")
	return cmd
}

func (t *tool) cancelFailbackCommand() *cobra.Command {
	o := operation{verb: string(farshore.CancelFailback), title: "Take the failback of %s back", watch: watch{cancelled: true}, landed: at(farshore.ReverseProtected)}
	o.prepare = func(w *work) error {
		if vm := w.machine.GetWayHome().GetVm(); vm != "" {
			w.plan.add("stopped", "VM %s at home; what was written to it is lost", vm)
		} else {
			w.plan.add("stop first", "whatever runs from the disks at home; what was written to them is lost")
		}
		w.plan.add("started", "the machine at the recovery site (%s), which is replicated home again", or(w.machine.GetVmAddress(), "no address"))
		return nil
	}
	cmd := t.operationCommand(&o, &cobra.Command{
		Use: "cancel NAME", Short: "Take an uncommitted failback back; the machine runs on at the recovery site", Example: "  farshore failback cancel web-01",
	})
	waitFlag(cmd, &o.wait, true, "it is taken back")
	return cmd
}

func showWayHome(x *text, m *farshorev1.Machine) {
	if w := m.GetWayHome(); w != nil {
		x.line("way home\t%s, by master target %s", w.GetWorkflow(), or(w.GetMasterTarget(), "not chosen yet"))
		if w.GetProcessServer() != "" {
			x.line("\tby temporary process server %s", w.GetProcessServer())
		}
		if w.GetReached() != nil {
			x.line("\thome at %s first, %s written", position(w.GetReached()), commandline.Size(w.GetWrittenBytes()))
		}
		showNotes(x, w.GetNotes())
	}
	showHomecoming(x, "failback", m.GetFailback())
	showHomecoming(x, "came home", m.GetLastFailback())
}

// showBodies tells of a machine's bodies, if it has more than one.
func (t *tool) showBodies(x *text, bodies []*farshorev1.Body) {
	if len(bodies) < 2 {
		return
	}
	title := "bodies"
	for _, b := range bodies {
		does, heard := "rests", "silent; last seen "+t.since(b.GetLastSeenUnix(), "never")
		if b.GetActs() {
			does = "acts"
		}
		if b.GetConnected() {
			heard = "connected"
		}
		x.line("%s\t%s %s %s, %s", title, b.GetInstance(), bodyPlaces[b.GetPlace()], does, heard)
		for _, f := range b.GetFaults() {
			x.line("\t  %s: %s", f.GetCode(), f.GetWhat())
		}
		title = ""
	}
}

// bodyPlaces says where a body of a machine stands.
var bodyPlaces = map[string]string{"source": "(the source)", "recovery": "(at the recovery site)", "home": "(at home)", "": "(of before)"}

func showHomecoming(x *text, title string, h *farshorev1.Homecoming) {
	if h == nil {
		return
	}
	x.line("%s\t%s", title, h.GetWorkflow())
	if h.GetPoint() != nil {
		x.line("\tfrom point %s", point(h.GetPoint()))
	}
	if h.GetComparedBytes() > 0 {
		x.line("\t%s compared, none of it different", commandline.Size(h.GetComparedBytes()))
	}
	switch changes := h.GetConfigurationChanges(); {
	case h.GetConfigurationFiles() > 0 && len(changes) == 0:
		x.line("\tits configuration is as it was before the failover: %d files", h.GetConfigurationFiles())
	case len(changes) > 0:
		x.line("\tof its configuration not as before the failover: %s", strings.Join(changes, ", "))
	}
	if h.GetRemovedBy() != "" {
		x.line("\tleft at the recovery site: removed by %s; cancel that to keep it", h.GetRemovedBy())
	}
	showNotes(x, h.GetNotes())
}

func showNotes(x *text, notes []string) {
	for _, n := range notes {
		x.line("\tnote: %s", n)
	}
}
