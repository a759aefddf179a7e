# The functions of nixpkgs' lib that the flake uses, with nixpkgs' meaning.
let
  inherit (builtins) filter head isString match split substring stringLength;
in
rec {
  inherit (builtins) attrNames attrValues elem mapAttrs;

  optionalAttrs = condition: attributes: if condition then attributes else { };
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  importTOML = path: builtins.fromTOML (builtins.readFile path);

  concatMapStringsSep = separator: f: list: builtins.concatStringsSep separator (map f list);
  # builtins.split takes a regular expression; a dash is one.
  splitString = separator: text: filter isString (split separator text);
  hasSuffix =
    suffix: text:
    stringLength text >= stringLength suffix
    && substring (stringLength text - stringLength suffix) (-1) text == suffix;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  escapeShellArg =
    argument:
    let
      text = toString argument;
    in
    if match "[[:alnum:],._+:@%/-]+" text != null then
      text
    else
      "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] text}'";

  getName = package: package.pname;
  getLib = package: package.lib or package;
  getExe = package: "${package}/bin/${package.meta.mainProgram}";

  licenses = {
    asl20 = {
      spdxId = "Apache-2.0";
      free = true;
    };
    mit = {
      spdxId = "MIT";
      free = true;
    };
    unfree = {
      fullName = "Unfree";
      free = false;
    };
  };

  fileset = {
    unions = map (
      path: if builtins.pathExists path then path else throw "lib.fileset.unions: ${toString path} does not exist"
    );
    toSource =
      { root, fileset }:
      let
        wanted = map toString fileset;
        below = path: parent: path == parent || substring 0 (stringLength parent + 1) path == "${parent}/";
      in
      builtins.path {
        path = root;
        name = "source";
        filter = path: _: builtins.any (one: below path one || below one path) wanted;
      };
  };
}
