#!/bin/bash
# Builds a driver for UEFI as the option ROM of VMware's paravirtual SCSI controller: pvscsi-rom.sh OUT. `make roundtrip` does.
# OVMF as Debian 12 and 13 build it has no driver for that controller and sees no disk behind it; vSphere's firmware has one.
# OVMF loads what a card brings along; SeaBIOS, which has a driver of its own, leaves it alone. The driver is EDK II's
# (OvmfPkg/PvScsiDxe, BSD-2-Clause-Patent), from its own repository or from the clone of it that EDK2 names.
set -euo pipefail
release=edk2-stable202502
out=$(realpath -m "$1")
missing=
for program in git gcc g++ make nasm python3; do
	command -v "$program" >/dev/null || missing+=" $program"
done
[ -e /usr/include/uuid/uuid.h ] || missing+=" uuid-dev"
[ -z "$missing" ] || { echo "a driver for pvscsi cannot be built: apt-get install$missing" >&2; exit 1; }

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
git -c advice.detachedHead=false clone -q --no-checkout --depth 1 --branch "$release" "${EDK2:-https://github.com/tianocore/edk2}" "$tree"
cd "$tree"
git sparse-checkout set BaseTools Conf MdePkg OvmfPkg
git checkout -q
mkdir -p MdePkg/Library/MipiSysTLib/mipisyst/library/include # a submodule that is named only
cat > PvScsi.dsc <<'DSC'
[Defines]
  PLATFORM_NAME           = PvScsi
  PLATFORM_GUID           = 7c0f1f3e-5a3b-4d52-9d3e-2f6b8f0a9c11
  PLATFORM_VERSION        = 1
  DSC_SPECIFICATION       = 0x00010005
  OUTPUT_DIRECTORY        = Build/PvScsi
  SUPPORTED_ARCHITECTURES = X64
  BUILD_TARGETS           = RELEASE
[LibraryClasses]
  BaseLib|MdePkg/Library/BaseLib/BaseLib.inf
  BaseMemoryLib|MdePkg/Library/BaseMemoryLibRepStr/BaseMemoryLibRepStr.inf
  DebugLib|MdePkg/Library/BaseDebugLibNull/BaseDebugLibNull.inf
  DevicePathLib|MdePkg/Library/UefiDevicePathLibDevicePathProtocol/UefiDevicePathLibDevicePathProtocol.inf
  MemoryAllocationLib|MdePkg/Library/UefiMemoryAllocationLib/UefiMemoryAllocationLib.inf
  PcdLib|MdePkg/Library/BasePcdLibNull/BasePcdLibNull.inf
  PrintLib|MdePkg/Library/BasePrintLib/BasePrintLib.inf
  RegisterFilterLib|MdePkg/Library/RegisterFilterLibNull/RegisterFilterLibNull.inf
  StackCheckLib|MdePkg/Library/StackCheckLibNull/StackCheckLibNull.inf
  UefiBootServicesTableLib|MdePkg/Library/UefiBootServicesTableLib/UefiBootServicesTableLib.inf
  UefiDriverEntryPoint|MdePkg/Library/UefiDriverEntryPoint/UefiDriverEntryPoint.inf
  UefiLib|MdePkg/Library/UefiLib/UefiLib.inf
  UefiRuntimeServicesTableLib|MdePkg/Library/UefiRuntimeServicesTableLib/UefiRuntimeServicesTableLib.inf
[Components]
  OvmfPkg/PvScsiDxe/PvScsiDxe.inf
DSC
for tool in Common GenFw GenSec GenFfs EfiRom; do
	make -s -C BaseTools/Source/C/$tool HOST_ARCH=X64
done
export WORKSPACE=$PWD EDK_TOOLS_PATH=$PWD/BaseTools PYTHON_COMMAND=python3
set -- # the script looks at them
set +eu
. ./edksetup.sh
set -eu
build -q -a X64 -t GCC -b RELEASE -p PvScsi.dsc
mkdir -p "$(dirname "$out")"
# The card's numbers, and its class: a SCSI controller.
BaseTools/Source/C/bin/EfiRom -f 0x15ad -i 0x07c0 -l 0x010000 -e Build/PvScsi/RELEASE_GCC/X64/PvScsiDxe.efi -o "$out"
