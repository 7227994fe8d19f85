extension CommandTable {
  /// The public interface. A new command is a new line.
  static var publicCommands: [(CommandTable) -> Void] {
    [
      { $0.add(DestroyCommand.self) },
      { $0.add(SpaceAllocateCommand.self) },
      { $0.add(AllowIOVAsCommand.self) },
      { $0.add(CopyCommand.self) },
      { $0.add(IOVARangesCommand.self) },
      { $0.add(MapCommand.self) },
      { $0.add(UnmapCommand.self) },
      { $0.add(OptionCommand.self) },
      { $0.add(CompatibilitySpaceCommand.self) },
      { $0.add(PageTableAllocateCommand.self) },
      { $0.add(HardwareInfoCommand.self) },
      { $0.add(SetDirtyTrackingCommand.self) },
      { $0.add(GetDirtyBitmapCommand.self) },
      { $0.add(InvalidateCommand.self) },
      { $0.add(FaultQueueAllocateCommand.self) },
      { $0.add(MapFileCommand.self) },
      { $0.add(VirtualIOMMUAllocateCommand.self) },
      { $0.add(VirtualDeviceAllocateCommand.self) },
      { $0.add(ChangeProcessCommand.self) },
      { $0.add(EventQueueAllocateCommand.self) },
      { $0.add(HardwareQueueAllocateCommand.self) },
      { $0.add(PhysicalAddressCommand.self) },
    ]
  }
}
