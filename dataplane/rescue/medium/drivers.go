package medium

// drivers are the modules that are packed as far as the kernel has them and has not got them built in: what disks and network
// cards of servers and hypervisors need, and what the EFI system partition of a restored disk does. Each brings those that it
// needs. All are loaded, in this order: the kernel binds them to what is there.
var drivers = []string{
	// buses and hypervisors
	"virtio_pci", "virtio_mmio", "hv_vmbus", "vmd", "thunderbolt",
	// disks
	"virtio_blk", "virtio_scsi", "hv_storvsc", "vmw_pvscsi", "xen_blkfront", "nvme", "ahci", "ata_piix", "ata_generic", "sd_mod",
	"mptspi", "mptsas", "mpt3sas", "megaraid_sas", "megaraid_mbox", "aacraid", "hpsa", "smartpqi", "arcmsr", "3w_9xxx", "3w_sas", "isci", "pm80xx", "mvsas",
	"lpfc", "qla2xxx", "bfa", "fnic", "mmc_block", "sdhci_pci",
	// a rescue medium, a keyboard and a screen
	"xhci_pci", "ehci_pci", "ohci_pci", "uhci_hcd", "usb_storage", "uas", "usbhid", "hid_generic", "atkbd", "i8042", "efifb", "simpledrm",
	// network
	"virtio_net", "hv_netvsc", "vmxnet3", "xen_netfront", "e1000", "e1000e", "igb", "igc", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "r8169", "tg3", "bnx2", "bnx2x",
	"bnxt_en", "be2net", "mlx4_en", "mlx5_core", "qede", "cxgb4", "enic", "sfc", "atlantic", "ena", "r8152", "ax88179_178a", "cdc_ether", "af_packet",
	// the clock, entropy, the EFI system partition, and the firmware's variables
	"rtc_cmos", "virtio_rng", "loop", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "efivarfs",
}
